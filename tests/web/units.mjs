// Run by test_js_units.py in a copy of what a browser gets: this file's folder is the server's root.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { ahead, cleanPlan, cleanRun, countsText, fewText, foundText, isElsewhere, isFed, levelFor, notesOf, percent, predict, predictionText, readable, samplerSteps, say, sentence, translated, Waiting, WORDS } from "./extensions/pack/js/synccache.js";
import { app } from "./scripts/app.js";

const RUN = {
  model: "Wan2.2-S2V", blocks: 40, refreshes: 12, expected: 5, cells: "ccr", changes: [null, 0.1, 0.2], speedup: 1.23, held: 5,
  limit: null, calibration: false, finished: false, why: ["a"], storable: 11, share: 0.05, took: 0.1, residual_bytes: 1, correction_bytes: 2,
};
const PLAN = { cells: "crrr", speedup: 3.99, error: 0.00123, bytes: 3 * 2 ** 20, measured: true, lines: ["x"] };

test("the script registers one extension", () => {
  assert.equal(app.extensions.length, 1);
});

test("predictions are those of the core", () => {
  const cases = JSON.parse(readFileSync(new URL("./cases.json", import.meta.url)));
  assert.ok(cases.length > 100);
  for (const { size, wish, core, readable: words } of cases) {
    const guess = predict(size, wish);
    assert.ok(Math.abs(guess.speedup - core.speedup) < 1e-9, JSON.stringify({ size, wish, core, guess }));
    assert.deepEqual({ ...guess, speedup: 0 }, { ...core, speedup: 0 }, JSON.stringify({ size, wish }));
    assert.equal(readable(guess.bytes), words);
  }
});

test("numbers for people", () => {
  assert.deepEqual([0, 1e-9, 1e-5, 0.0123, 0.5, 3].map(percent), ["0 %", "0 %", "0.001 %", "1.2 %", "50 %", "300 %"]);
});

test("every language has every sentence, with the same places to fill in", () => {
  const places = (sentence) => [...sentence.matchAll(/\{\w+\}/g)].map(String).sort();
  for (const [language, words] of Object.entries(WORDS)) {
    assert.deepEqual(Object.keys(words), Object.keys(WORDS.en), language);
    for (const [key, sentence] of Object.entries(words)) {
      assert.deepEqual(places(sentence), places(WORDS.en[key]), `${language}: ${key}`);
    }
  }
});

test("what a run says", () => {
  const run = cleanRun(RUN);
  assert.equal(countsText(run, "en"), "3 of 5 steps · 2 computed · 1 reused · 1.2×");
  assert.equal(countsText({ ...run, ended: true }, "en"), "3 of 5 steps · 2 computed · 1 reused · 1.2× · interrupted");
  assert.equal(countsText({ ...run, replay: "2 of 4" }, "en"), "trial 2 of 4: 3 of 5 steps · 2 computed · 1 reused · 1.2×");
  assert.equal(countsText({ ...run, number: 2 }, "en"), "run 2: 3 of 5 steps · 2 computed · 1 reused · 1.2×");
  assert.equal(countsText({ ...run, calibration: true }, "en"), "3 of 5 steps · calibrating");
  assert.equal(foundText(run, "en"), "Wan2.2-S2V: 40 blocks, 12 audio refreshes");
  const beside = cleanRun({ ...RUN, model: "LTX-2 with sound", refreshes: 0 });
  assert.equal(foundText(beside, "en"), "LTX-2 with sound: 40 blocks");
  const unknown = cleanRun({ ...RUN, model: "Flux", blocks: 0, refreshes: 0 });
  assert.equal(foundText(unknown, "en"), "Flux is not known to SyncCache: whole results are reused, audio included.");
});

test("what Python says is said in the person's language", () => {
  const { run } = JSON.parse(readFileSync(new URL("./told.json", import.meta.url)));
  const cleaned = cleanRun(run);
  assert.deepEqual(notesOf(cleaned, "en"), [
    "nothing was reused: last step, warm-up", "note: no step is live: 4× leaves nothing beside the computed ones", "note: its own words",
    "Recommendation: set target_speedup to 1, which is off: 2 steps are few, so that there is little to gain",
  ]);
  assert.deepEqual(notesOf(cleaned, "ja"), [
    "何も再利用されませんでした：最後のステップ、ウォームアップ",
    "注意：人物だけ計算するステップはありません。4× では、計算するステップのほかに余裕がありません", "注意：its own words",
    "提案：target_speedup を 1（オフ）にしてください。2 ステップは少なく、高速化の余地はわずかです",
  ]);
  assert.match(notesOf(cleaned, "zh")[0], /^没有复用：最后一步、预热$/);
  const plan = cleanPlan({ ...PLAN, lines: [{ key: "{parts}", values: { parts: [{ key: "order {order}", values: { order: "1" } }, { key: "with correction", values: {} }] } }] });
  assert.equal(sentence(plan.lines[0], "ja"), "次数 1、補正あり");
  assert.equal(sentence({ key: "of {a} newer {b}", values: { a: "a" } }, "ja"), "of a newer ");
  assert.equal(sentence({ key: "constructor", values: {} }, "ja"), "constructor");
});

test("a node's text is told in the person's language", () => {
  const { report, compare } = JSON.parse(readFileSync(new URL("./told.json", import.meta.url)));
  assert.equal(translated(report, "en").split("  \n")[1], "2 steps: 2 computed, 0 reused");
  assert.deepEqual(translated(report, "ja").split("  \n"), [
    "toy：7 ブロック、音声リフレッシュ 4 箇所", "2 ステップ：計算 2、再利用 0", "速度：演算量では 1.00 倍",
    "キャッシュ 0 bytes：残差 0 × 分岐 0、次数 0", "何も再利用されませんでした：最後のステップ、ウォームアップ",
    "注意：人物だけ計算するステップはありません。4× では、計算するステップのほかに余裕がありません", "注意：its own words",
  ]);
  const [verdict, , head, , columns, , whole, , , ...listed] = translated(compare, "zh").split("  \n");
  assert.equal(
    verdict, "结论：你的模型换一个噪声相差：整个画面 25.0 dB、嘴部 25.0 dB；加速视频比它更接近原始视频：整个画面 +15.0 dB、嘴部 +15.0 dB。" +
    "是同一段表演，只有细小差异。嘴部跟随声音不如原始视频（0.017，原始视频 1.000），晚了 1 帧。",
  );
  assert.deepEqual([head, columns, whole], [
    "原始视频与加速视频：9 帧，96×64", "| 区域 | PSNR | SSIM | 最差的一帧 | 两个噪声 |", "| 整个画面 | 40.0 dB | 0.9000 | 40.0 dB（第 1 帧） | 25.0 dB |",
  ]);
  assert.equal(listed[1], "- 嘴部的依据：MediaPipe 的面部关键点");
  const rest = translated(compare, "ja").replaceAll(/MediaPipe|PSNR|SSIM|dB|ms|[|×]/g, "");
  assert.doesNotMatch(rest, /[A-Za-z]/);
  assert.equal(translated([{ key: 3 }, "<b>", ...Array(1000).fill("x")], "zh").split("  \n").length, 400);
  assert.equal(translated("text", "zh"), "");
});

test("what is predicted, and from what", () => {
  const size = { expected: 40, share: 0.05, storable: 11, refreshes: 12, residual_bytes: 2 ** 28 };
  const wish = { target: 3, ratio: 1, order: 1, limit: 0 };
  assert.match(predictionText({ linked: false, wish }, "en"), /Asks for 3.0× faster; .* once the first run/);
  assert.equal(predictionText({ linked: false, wish, size }, "en"), "Predicted: 3.0× faster, 12 of 40 steps, 5.50 GiB");
  const outputs = { expected: 20, share: 0, storable: 0, refreshes: 0, residual_bytes: 0, level: "output", held: 2 ** 20 };
  assert.equal(predictionText({ linked: false, wish, size: outputs }, "en"), "Predicted: 2.9× faster, 7 of 20 steps, 1.00 MiB");
  const here = { ...size, took: 0.2 }; // what is computed goes by the operations all the same
  assert.equal(predictionText({ linked: false, wish, size: here }, "en"), "Predicted: 2.3× faster on this machine, 12 of 40 steps, 5.50 GiB");
  assert.match(predictionText({ linked: false, wish: { ...wish, target: 1 }, size }, "en"), /off/);
  const inside = { ...size, usual_ratio: 0.4 }; // five of twelve with a preset, all of them as the slider says
  assert.match(predictionText({ linked: false, wish: { ...wish, preset: true }, size: inside }, "en"), /2.50 GiB/);
  assert.match(predictionText({ linked: false, wish: { ...wish, preset: false }, size: inside }, "en"), /5.50 GiB/);
  const plan = cleanPlan(PLAN);
  assert.equal(predictionText({ linked: true, wish, size, plan }, "en"), "Plan: 3.99× faster, 1 of 4 steps, error 0.12 %, 3.00 MiB (measured)");
  assert.match(predictionText({ linked: true, wish, size, plan: null }, "en"), /with the next run/);
  assert.doesNotMatch(predictionText({ linked: false, wish, size, plan }, "en"), /Plan/);
});

test("with a threshold the probe decides, whatever the target", () => {
  const size = { expected: 40, share: 0.05, storable: 11, refreshes: 12, residual_bytes: 2 ** 28 };
  const facts = { linked: false, wish: { target: 1, ratio: 1, order: 1, limit: 0, probing: true, threshold: 0.1, live: "off" }, size };
  for (const other of [{}, { size: null }, { wish: { ...facts.wish, target: 4 } }]) {
    assert.equal(predictionText({ ...facts, ...other }, "en"), "The probe decides by its threshold: how many steps are computed, and so the speed, shows as it runs.");
  }
  assert.match(predictionText({ ...facts, linked: true, plan: cleanPlan(PLAN) }, "en"), /^Plan: /);
  const few = { ...facts, size: cleanRun({ ...RUN, livable: true }) };
  assert.match(fewText(few, 4, "en"), /^4 steps are few, .* bypassed\.$/);
});

test("the steps that the sampler is set to are predicted", () => {
  const size = cleanRun({ ...RUN, expected: 20, steps: 20, took: null, residual_bytes: 2 ** 28 }), wish = { target: 3, ratio: 1, order: 1, limit: 0 };
  const told = (steps) => predictionText({ linked: false, wish, size: ahead(size, steps) }, "en").match(/\d+ of \d+ steps/)[0];
  assert.deepEqual([20, 40, 6].map(told), ["6 of 20 steps", "12 of 40 steps", "2 of 6 steps"]); // (N / 3 - N / 20) / 0.95
  assert.equal(told(null), "6 of 20 steps");
  assert.equal(ahead({ expected: 39, steps: 20 }, 10).expected, 20); // heun asks twice at all steps but the last
  assert.equal(ahead({ expected: 5, steps: 10 }, 1).expected, 1);
  assert.equal(ahead({ expected: 20, steps: null }, 40).expected, 20); // kept by an older version
  assert.equal(ahead(null, 40), null);
});

test("nothing is foretold from a value that comes over a link", () => {
  const size = cleanRun({ ...RUN, expected: 20 }), wish = { target: 3, ratio: 1, order: 1, limit: 0, connected: true };
  for (const facts of [{ size }, { size: null }, { size, wish: { ...wish, target: 1 } }]) {
    assert.match(predictionText({ linked: false, wish, ...facts }, "en"), /^A setting comes over a link: [^\d]*$/);
  }
});

test("what runs is placed in its own workflow", () => {
  assert.equal(isElsewhere({ workflow: "a", node: "3" }, "b"), true);
  for (const [workflow, open] of [["a", "a"], [null, "a"], [undefined, "a"], ["a", undefined]]) assert.equal(isElsewhere({ workflow }, open), false);
  const waiting = new Waiting();
  for (const event of [{ plan: null }, { recognised: 1 }, { text: "t" }, { run: 1 }, { run: 2 }]) waiting.keep({ workflow: "a", node: "3", ...event });
  waiting.keep({ workflow: "b", node: "3", run: 3 });
  waiting.keep({ workflow: "a", node: "4", lines: ["x"] });
  assert.deepEqual(waiting.take("a"), [{ workflow: "a", node: "3", plan: null, recognised: 1, run: 2 }, { workflow: "a", node: "4", lines: ["x"] }]);
  assert.deepEqual(waiting.take("a"), []);
  for (let node = 0; node < 1000; node++) waiting.keep({ workflow: "c", node, run: 1 });
  assert.deepEqual(waiting.take("b"), []); // the oldest is the first to go
  assert.equal(waiting.take("c").length, 100);
});

test("a muted node gives nothing, a bypassed one what it is given", () => {
  const nodes = {}, links = {};
  const graph = { getNodeById: (id) => nodes[id], getLink: (id) => links[id] };
  const link = (id, origin_id) => (links[id] = { origin_id, origin_slot: 0 }) && id;
  const node = { graph, inputs: [{ name: "human_mask", type: "MASK", link: link(1, "grow") }, { name: "plan_json", link: null }] };
  nodes.grow = { graph, mode: 0, outputs: [{ type: "MASK" }], inputs: [{ type: "INT", link: null }, { type: "MASK", link: link(2, "load") }] };
  nodes.load = { graph, mode: 0, outputs: [{ type: "MASK" }], inputs: [] };
  const fed = (grow, load) => Object.assign(nodes.grow, { mode: grow }) && Object.assign(nodes.load, { mode: load }) && isFed(node, "human_mask");
  assert.deepEqual([fed(0, 0), fed(4, 0), fed(2, 0), fed(4, 2), fed(4, 4)], [true, true, false, false, false]);
  assert.deepEqual([isFed(node, "plan_json"), isFed(node, "none"), isFed({}, "plan_json")], [false, false, false]);
  links[1].origin_id = -10; // the edge of a subgraph
  assert.equal(isFed(node, "human_mask"), true);
});

test("live steps are not predicted, and said so where there will be some", () => {
  const size = cleanRun({ ...RUN, expected: 20, residual_bytes: 2 ** 28, livable: true });
  const wish = { target: 3, ratio: 1, order: 1, limit: 0, live: "person", masked: true };
  assert.equal(predictionText({ linked: false, wish, size }, "en"), "Asks for 3.0× faster with live steps: how many are computed and how many live shows as it runs.");
  for (const other of [{ live: "off" }, { masked: false }, { probing: true }]) {
    assert.match(predictionText({ linked: false, wish: { ...wish, ...other }, size }, "en"), /^Predicted: \d/);
  }
  assert.match(predictionText({ linked: false, wish, size: { ...size, livable: false } }, "en"), /^Predicted: \d/);
  assert.match(predictionText({ linked: false, wish: { ...wish, target: 1 }, size }, "en"), /off/);
});

test("few steps are told of before the run", () => {
  const facts = { linked: false, wish: { target: 3 } };
  assert.match(fewText(facts, 4, "en"), /^4 steps are few, so there is little to gain/);
  assert.match(fewText({ ...facts, size: { expected: 8 } }, null, "en"), /^8 steps/);
  assert.equal(fewText({ ...facts, size: { expected: 4 } }, 20, "en"), ""); // it was that few the last time
  for (const steps of [9, null]) assert.equal(fewText(facts, steps, "en"), "");
  assert.equal(fewText({ ...facts, linked: true }, 4, "en"), "");
  assert.equal(fewText({ ...facts, wish: { target: 1 } }, 4, "en"), "");
});

test("the steps are those of the first sampler or scheduler that the model reaches", () => {
  const nodes = {}, links = {};
  const graph = { getNodeById: (id) => nodes[id], getLink: (id) => links[id] };
  const add = (id, to = [], widgets = [], inputs = []) => {
    const outputs = [{ type: "LATENT", links: [99] }, { type: "MODEL", links: to.map((target, i) => (links[`${id}-${i}`] = { target_id: target }) && `${id}-${i}`) }];
    return (nodes[id] = { graph, outputs, widgets, inputs });
  };
  const start = add("cache", ["shift"], [{ name: "steps", value: 3 }]);
  add("shift", ["cache", "sampler"], [{ name: "shift", value: 8 }]);
  const sampler = add("sampler", [], [{ name: "steps", value: 4 }]);
  assert.equal(samplerSteps(start).value, 4);
  sampler.inputs.push({ widget: { name: "steps" }, link: 7 });
  assert.equal(samplerSteps(start), null);
  assert.equal(samplerSteps(sampler), null);
  assert.equal(samplerSteps({}), null);
});

test("another level than that of the last run is predicted as such", () => {
  const wish = { target: 3, ratio: 1, order: 1, limit: 0, reuse: "auto" };
  const ran = { blocks: 40, expected: 20, storable: 11, refreshes: 12, fresh_share: 0.05, least_left: [0.88, 0.85] };
  const fresh = { ...ran, level: "residual", share: 0.05, took: 0.04, residual_bytes: 2 ** 28, output_bytes: 2 ** 20, outputs_corrected: 1 };
  const whole = { ...ran, level: "output", share: 0, took: 0.01, residual_bytes: 0, held: 2 ** 21 };
  const told = (size, more) => predictionText({ linked: false, wish: { ...wish, ...more }, size }, "en");
  assert.equal(told(fresh, {}), "Predicted: 3.0× faster on this machine, 6 of 20 steps, 5.50 GiB");
  assert.equal(told(fresh, { target: 5 }), "Predicted: 5.0× faster, 4 of 20 steps, 3.00 MiB"); // 3.2 left of 4: whole results
  assert.equal(told(fresh, { reuse: "output" }), "Predicted: 2.9× faster, 7 of 20 steps, 3.00 MiB");
  assert.equal(told(whole, { reuse: "output" }), "Predicted: 2.8× faster on this machine, 7 of 20 steps, 2.00 MiB");
  assert.equal(told(whole, {}), "Predicted: 3.0× faster, 6 of 20 steps, memory known after a run");
  assert.equal(told(whole, { target: 5, probing: true }), "Predicted: 5.2× faster, 3 of 20 steps, memory known after a run");
  assert.equal(levelFor({ ...fresh, fresh_share: 0.1 }, { ...wish, target: 4 }), "output"); // 3.3 left of 5
  assert.equal(levelFor({ ...fresh, fresh_share: 0.1, least_left: [0.6, 0.6] }, { ...wish, target: 4 }), "residual");
  assert.equal(told({ ...whole, blocks: 0, fresh_share: null }, { reuse: "residual" }), told(whole, { reuse: "output" }));
});

test("nothing that a workflow file may hold is believed", () => {
  const nested = (depth) => (depth ? { key: "{x}", values: { x: nested(depth - 1) } } : "deep");
  for (const odd of [null, undefined, 3, "x", [], {}]) assert.equal(cleanPlan(odd), null);
  for (const odd of [null, undefined, 3, "x"]) assert.equal(cleanRun(odd), null);
  const run = cleanRun({
    model: { toString: () => "<b>" }, cells: "c<img>", changes: [NaN, "1", {}, 0.5], expected: 1e12, held: -5, limit: Infinity,
    why: ["<img src=x onerror=alert(1)>", 7, "y".repeat(1e4), { key: 3 }, { key: "a {b}", values: { b: { key: "c", values: 5 } } }, nested(9)],
    speedup: "fast", share: 7,
  });
  assert.equal(run.model, "");
  assert.equal(run.cells, "");
  assert.equal(run.expected, 2000);
  assert.deepEqual(run.changes, [null, null, null, 0.5]);
  assert.deepEqual([run.held, run.limit, run.speedup, run.share], [0, null, null, 1]);
  assert.equal(run.why[0], "<img src=x onerror=alert(1)>"); // set as text, never as HTML
  assert.equal(run.why[1].length, 400);
  assert.equal(sentence(run.why[2], "zh"), "a c");
  assert.equal(sentence(run.why[3], "zh"), ""); // too deep
  const plan = cleanPlan({ ...PLAN, front: [PLAN, { ...PLAN, target: 2 }, "x", null], bytes: null, cells: "r".repeat(5000) });
  assert.equal(plan.front.length, 1);
  assert.equal(plan.cells.length, 2000);
  assert.equal(plan.bytes, 0);
});
