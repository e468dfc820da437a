// What the SyncCache nodes show in the editor: a live strip of the run, a prediction before it, plans to choose from, and the
// texts of nodes in the person's language.
// Everything that comes from a server or a workflow file is untrusted: it is checked by clean* and only ever set as text.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { SENTENCES } from "./sentences.js";

const EVENT = "synccache"; // nodes/text.py
const VIEW = "synccache_plan"; // nodes/plans.py
const KEPT = "synccache"; // in node.properties: the last run stays with the workflow
const STRIPS = ["SyncCache", "SyncCacheCalibrate"];
const PLANS = ["SyncCacheScheduleOptimizer", "SyncCacheLoadPlan"];
const CUSTOM = "Custom", PAPER = "Paper";
const AUTO = "auto", RESIDUAL = "residual", OUTPUT = "output"; // levels, synccache_core/config.py
const REUSE = { residuals: RESIDUAL, outputs: OUTPUT }; // the widget's words for them
const OFF = "off"; // nodes/cache.py, of live
const SETTINGS = ["preset", "forecast_order", "warmup", "memory_budget_gb", "reuse", "live"]; // that a prediction goes by
const NEVER = 2, BYPASS = 4; // modes of a node
const MIN_COMPUTED = 2, MIN_WARMUP = 2; // decide/policy.py
const FEW_STEPS = 8; // report/advice.py
const AUTO_ORDER = 1; // forecast_order -1: the highest that is tried
const BREAK = "  \n"; // as in nodes/text.py
const MOST_STEPS = 2000, MOST_POINTS = 400, MOST_LINES = 12, MOST_TEXT = 400, MOST_DEPTH = 8, MOST_TOLD = 400, MOST_WAITING = 100;
const UNITS = { GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10 };

export const WORDS = {
  en: {
    strip: "SyncCache run", plan: "SyncCache plan", waiting: "Asks for {speed}× faster; what that takes is predicted once the first run shows model and size.",
    recognised: "{model}: {blocks} blocks, {refreshes} audio refreshes",
    blocks: "{model}: {blocks} blocks",
    unknown: "{model} is not known to SyncCache: whole results are reused, audio included.",
    predicted: "Predicted: {speed}× faster, {computed} of {steps} steps, {memory}",
    predicted_here: "Predicted: {speed}× faster on this machine, {computed} of {steps} steps, {memory}",
    off: "Predicted: off, the model runs as it is",
    probed: "The probe decides by its threshold: how many steps are computed, and so the speed, shows as it runs.",
    connected: "A setting comes over a link: how many steps are computed, and so the speed, shows as it runs.",
    live_ahead: "Asks for {speed}× faster with live steps: how many are computed and how many live shows as it runs.",
    few: "{steps} steps are few, so there is little to gain: each makes much of the video, and a reused one shows. Compare with SyncCache bypassed.",
    planned: "Plan: {speed}× faster, {computed} of {steps} steps, error {error}, {memory} ({how})",
    plan_unknown: "A plan decides; what it gives appears with the next run.",
    how_predicted: "predicted", how_measured: "measured",
    counts_live: "{done} of {steps} steps · {computed} computed · {live} live · {reused} reused",
    counts: "{done} of {steps} steps · {computed} computed · {reused} reused", calibrating: "{done} of {steps} steps · calibrating",
    replay: "trial {replay}: ", number: "run {number}: ", speed: " · {speed}×", held: "{held} held", of: " of {limit}", interrupted: " · interrupted",
    compute: "computed", live: "live", reuse: "reused", wait: "to come", cell: "step {step}: {action}", probe: ", probe change {change}",
    point: "{speed}× faster, error {error}, {memory}", choose: "Press Run to make this plan.", about: "About this plan: ",
    front: "Plans by speed and error", error: "error", faster: "speed", empty: "Press Run to see the plan.",
    room: "{held} of {limit}", unmeasured: "memory known after a run", advice: "Recommendation: {advice}", comma: ", ",
  },
  zh: {
    strip: "SyncCache 运行", plan: "SyncCache 方案", waiting: "要求加速 {speed}×；首次运行得知模型和尺寸后，显示预估的代价。",
    recognised: "{model}：{blocks} 个块，{refreshes} 处音频刷新",
    blocks: "{model}：{blocks} 个块",
    unknown: "SyncCache 不认识 {model}：复用模型的整个结果，包括音频。",
    predicted: "预估：加速 {speed}×，计算 {computed}/{steps} 步，{memory}",
    predicted_here: "预估：在本机加速 {speed}×，计算 {computed}/{steps} 步，{memory}",
    off: "预估：已关闭，模型照常运行",
    probed: "由探测按其阈值决定：计算多少步、因而快多少，运行时显示。",
    connected: "有设置由连线传入：计算多少步、因而快多少，运行时显示。",
    live_ahead: "要求加速 {speed}×，部分步仅算人物：计算多少步、仅算人物多少步，运行时显示。",
    few: "{steps} 步很少，加速的余地不大：每一步都对视频影响很大，复用会看得出来。请与绕过 SyncCache 的结果比较。",
    planned: "方案：加速 {speed}×，计算 {computed}/{steps} 步，误差 {error}，{memory}（{how}）",
    plan_unknown: "由方案决定；下次运行时显示它的效果。",
    how_predicted: "预计", how_measured: "实测",
    counts_live: "{done}/{steps} 步 · 计算 {computed} · 仅人物 {live} · 复用 {reused}",
    counts: "{done}/{steps} 步 · 计算 {computed} · 复用 {reused}", calibrating: "{done}/{steps} 步 · 校准中",
    replay: "试运行 {replay}：", number: "第 {number} 次采样：", speed: " · {speed}×", held: "已占用 {held}", of: " / {limit}", interrupted: " · 已中断",
    compute: "计算", live: "仅人物", reuse: "复用", wait: "未到", cell: "第 {step} 步：{action}", probe: "，探测到变化 {change}",
    point: "加速 {speed}×，误差 {error}，{memory}", choose: "点击“运行”生成此方案。", about: "大致如此：",
    front: "按速度和误差排列的方案", error: "误差", faster: "速度", empty: "点击“运行”查看方案。",
    room: "{held} / {limit}", unmeasured: "内存在运行后得知", advice: "建议：{advice}", comma: "、",
  },
  ja: {
    strip: "SyncCache の実行", plan: "SyncCache のプラン", waiting: "{speed} 倍速を要求。最初の実行でモデルとサイズが分かると、必要なものを予測します。",
    recognised: "{model}：{blocks} ブロック、音声リフレッシュ {refreshes} 箇所",
    blocks: "{model}：{blocks} ブロック",
    unknown: "{model} は SyncCache の未知のモデルです。音声も含め、結果全体を再利用します。",
    predicted: "予測：{speed} 倍速、{steps} ステップ中 {computed} を計算、{memory}",
    predicted_here: "予測：このマシンで {speed} 倍速、{steps} ステップ中 {computed} を計算、{memory}",
    off: "予測：オフ、モデルはそのまま動きます",
    probed: "プローブがしきい値で決めます。計算するステップの数と速度は、実行中に表示されます。",
    connected: "リンクから入る設定があります。計算するステップの数と速度は、実行中に表示されます。",
    live_ahead: "{speed} 倍速を要求、一部のステップは人物だけ計算。計算と人物だけのステップの数は、実行中に表示されます。",
    few: "{steps} ステップは少なく、高速化の余地はわずかです。1 ステップの影響が大きく、再利用が見た目に表れます。SyncCache をバイパスした結果と比べてください。",
    planned: "プラン：{speed} 倍速、{steps} ステップ中 {computed} を計算、誤差 {error}、{memory}（{how}）",
    plan_unknown: "プランに従います。効果は次の実行で表示されます。",
    how_predicted: "予測", how_measured: "実測",
    counts_live: "{steps} ステップ中 {done} · 計算 {computed} · 人物のみ {live} · 再利用 {reused}",
    counts: "{steps} ステップ中 {done} · 計算 {computed} · 再利用 {reused}", calibrating: "{steps} ステップ中 {done} · キャリブレーション中",
    replay: "試行 {replay}：", number: "{number} 回目の実行：", speed: " · {speed} 倍速", held: "使用中 {held}", of: " / {limit}", interrupted: " · 中断",
    compute: "計算", live: "人物のみ", reuse: "再利用", wait: "これから", cell: "ステップ {step}：{action}", probe: "、プローブの変化 {change}",
    point: "{speed} 倍速、誤差 {error}、{memory}", choose: "「実行」でこのプランを作ります。", about: "おおよそ：",
    front: "速度と誤差で見たプラン", error: "誤差", faster: "速度", empty: "「実行」でプランが表示されます。",
    room: "{held} / {limit}", unmeasured: "メモリは実行後に分かります", advice: "提案：{advice}", comma: "、",
  },
};

// -- numbers: the same arithmetic as synccache_core/model/cost.py and layout.py; tests/web holds them against each other ----------

function roundHalfEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest === 0.5) return low % 2 === 0 ? low : low + 1;
  return rest < 0.5 ? low : low + 1;
}

/** Computed steps whose ideal speed-up is nearest to the target. share: cost of a reused step over a computed one. */
export function budget(steps, target, share) {
  if (share >= 1) return steps;
  return Math.max(1, Math.min(steps, roundHalfEven((steps / target - steps * share) / (1 - share))));
}

export function idealSpeedup(steps, computed, share) {
  return steps / (computed + (steps - computed) * share);
}

export function groupsForRatio(storable, refreshes, ratio) {
  return Math.max(1, Math.min(storable, Math.floor(ratio * refreshes + 0.5)));
}

/** The level that the nodes will take, as level_for in synccache_core/decide/policy.py does; wish.reuse: "auto", or a level. Of what an
 * older version kept of a run nothing else is known than the level of then. */
export function levelFor(size, wish) {
  if (!size.blocks && size.level === OUTPUT) return OUTPUT;
  if (wish.reuse && wish.reuse !== AUTO) return wish.reuse;
  const fresh = size.fresh_share ?? null;
  if (fresh === null || wish.probing) return wish.probing ? RESIDUAL : size.level || RESIDUAL;
  const bare = size.expected / wish.target, [least, rounded] = size.least_left ?? [0, 0];
  const left = fresh < 1 ? (bare - size.expected * fresh) / (1 - fresh) : 0;
  return left >= least * bare && roundHalfEven(left) >= rounded * roundHalfEven(bare) ? RESIDUAL : OUTPUT;
}

/** As warmup_steps in synccache_core/decide/policy.py. wish.warmup: -1 = as it finds. */
function warmupSteps(expected, computed, wish) {
  if (wish.warmup >= 0) return Math.max(1, wish.warmup);
  if (!wish.probing) return 1;
  return Math.min(Math.max(MIN_WARMUP, Math.ceil(0.15 * expected)), Math.max(MIN_WARMUP, Math.floor(computed / 4)));
}

/** Bytes that are held, null where the last run did not show them. */
function heldBytes(size, wish, level) {
  if (level === OUTPUT) {
    if (size.level === OUTPUT) return size.held;
    return size.output_bytes ? size.output_bytes * (wish.order + 1 + size.outputs_corrected) : null;
  }
  if (!size.residual_bytes) return null;
  const usual = wish.preset ? (size.usual_ratio ?? wish.ratio) : wish.ratio;
  const ratio = wish.paper ? wish.ratio - (0.5 - 1e-9) / size.refreshes : usual;
  const groups = groupsForRatio(size.storable, size.refreshes, ratio);
  return groups * size.residual_bytes * (wish.order + 1) + (size.correction_bytes ?? 0);
}

/** What the sliders will give at the size of the last run. size.took: seconds of a reused step over those of a computed one,
 * where that was measured; what is computed goes by the operations, size.share, as the nodes have it. wish: {target, ratio, order, limit, paper, preset}, limit in bytes, 0 =
 * none; paper: whether the ratio is rounded down, as in the paper; preset: whether the ratio is what is usual for the model; reuse, probing: see levelFor; warmup: see warmupSteps. A target of 1 is off, which is nobody's question. */
export function predict(size, wish) {
  const level = levelFor(size, wish), same = level === (size.level || RESIDUAL);
  const share = same ? size.share : level === OUTPUT ? 0 : size.fresh_share ?? size.share;
  const took = same ? size.took ?? null : null;
  const least = Math.min(size.expected, MIN_COMPUTED);
  const afforded = Math.max(least, budget(size.expected, wish.target, share));
  const computed = Math.max(afforded, Math.min(size.expected, warmupSteps(size.expected, afforded, wish) + 1)); // and the last
  const held = heldBytes(size, wish, level), apart = level === RESIDUAL ? size.correction_bytes ?? 0 : 0; // no part of the limit
  return {
    level, computed, steps: size.expected, speedup: idealSpeedup(size.expected, computed, took ?? share), here: took !== null,
    bytes: held !== null && wish.limit > 0 ? Math.min(held, wish.limit + apart) : held,
  };
}

/** The size of the last run as it is with so many steps of the sampler; size.steps: what it had then. Either may not be known. */
export function ahead(size, steps) {
  if (!size?.steps || !steps) return size;
  return { ...size, expected: Math.max(1, Math.round((size.expected * steps) / size.steps)) };
}

export function readable(bytes) {
  const unit = Object.keys(UNITS).find((name) => bytes >= Math.max(UNITS.KiB, 0.1 * UNITS[name]));
  return unit ? `${(bytes / UNITS[unit]).toFixed(2)} ${unit}` : `${Math.round(bytes)} bytes`;
}

export function percent(error) {
  const value = 100 * error;
  if (value >= 100) return `${value.toFixed(0)} %`;
  return value >= 1e-4 ? `${Number(value.toPrecision(2))} %` : "0 %";
}

// -- what may be believed ---------------------------------------------------------------------------------------------

function number(value, low = 0, high = 1e15) {
  return typeof value === "number" && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : null;
}

function text(value) {
  return typeof value === "string" ? value.slice(0, MOST_TEXT) : "";
}

/** A text, or a sentence as synccache_core/sentences.py tells it, or a list of these. */
function said(value, depth = MOST_DEPTH) {
  if (Array.isArray(value)) return depth ? list(value, MOST_LINES).map((each) => said(each, depth - 1)) : "";
  if (typeof value?.key !== "string" || !depth) return text(value);
  const values = Object.entries(value.values ?? {}).slice(0, MOST_LINES);
  return { key: text(value.key), values: Object.fromEntries(values.map(([name, given]) => [name, said(given, depth - 1)])) };
}

function list(value, most) {
  return Array.isArray(value) ? value.slice(0, most) : [];
}

function cells(value) {
  return typeof value === "string" && /^[clr]*$/.test(value) ? value.slice(0, MOST_STEPS) : "";
}

/** A run as RunReport.live() gives it, or null. */
export function cleanRun(run) {
  if (!run || typeof run !== "object") return null;
  const done = cells(run.cells);
  const expected = Math.round(number(run.expected, 0, MOST_STEPS) ?? 0);
  return {
    ...cleanRecognised(run), expected: Math.max(expected, done.length), cells: done,
    changes: list(run.changes, MOST_STEPS).map((c) => number(c)),
    computed: done.split("c").length - 1, reused: done.split("r").length - 1, live: done.split("l").length - 1, speedup: number(run.speedup),
    held: number(run.held) ?? 0, limit: number(run.limit), calibration: run.calibration === true,
    finished: run.finished === true, ended: run.ended === true, replay: said(run.replay), advice: said(run.advice), number: Math.round(number(run.number, 1, 1e6) ?? 1),
    why: list(run.why, MOST_LINES).map((line) => said(line)).filter(Boolean), storable: number(run.storable) ?? 0,
    share: number(run.share, 0, 1), took: number(run.took, 0, 1), residual_bytes: number(run.residual_bytes) ?? 0,
    correction_bytes: number(run.correction_bytes) ?? 0, level: text(run.level), fresh_share: number(run.fresh_share, 0, 1),
    least_left: [0, 1].map((i) => number(list(run.least_left, 2)[i], 0, 1) ?? 0),
    output_bytes: number(run.output_bytes) ?? 0, outputs_corrected: number(run.outputs_corrected) ?? 0,
    usual_ratio: number(run.usual_ratio, 0, 1) ?? 1, livable: run.livable === true,
    steps: number(run.steps, 0, MOST_STEPS),
  };
}

export function cleanRecognised(found) {
  return { model: text(found?.model), blocks: number(found?.blocks) ?? 0, refreshes: number(found?.refreshes) ?? 0 };
}

/** A plan as plans.view() or an entry of optimizer.menu() gives it, or null. */
export function cleanPlan(plan) {
  if (!plan || typeof plan !== "object" || !cells(plan.cells)) return null;
  return {
    cells: cells(plan.cells), speedup: number(plan.speedup) ?? 1, error: number(plan.error) ?? 0,
    bytes: number(plan.bytes) ?? 0, measured: plan.measured === true, target: number(plan.target),
    room: number(plan.room), lines: list(plan.lines, MOST_LINES).map((line) => said(line)).filter(Boolean),
    front: list(plan.front, MOST_POINTS).map(cleanPlan).filter((point) => point && point.target !== null),
  };
}

// -- sentences --------------------------------------------------------------------------------------------------------

function locale() {
  const chosen = app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en";
  return WORDS[String(chosen).split("-")[0]] ? String(chosen).split("-")[0] : "en";
}

export function say(key, values = {}, language = locale()) {
  return filled(WORDS[language][key], values);
}

function filled(words, values) {
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** given: as `said` cleans it. In English where the language has no such sentence. */
export function sentence(given, language = locale()) {
  if (typeof given === "string") return given;
  if (Array.isArray(given)) return given.map((each) => sentence(each, language)).join(say("comma", {}, language));
  const words = SENTENCES[language] ?? {};
  const values = Object.entries(given.values).map(([name, value]) => [name, sentence(value, language)]);
  return filled(Object.hasOwn(words, given.key) ? words[given.key] : given.key, Object.fromEntries(values));
}

/** A node's text, by what Python told of its lines. */
export function translated(lines, language = locale()) {
  return list(lines, MOST_TOLD).map((line) => sentence(said(line), language)).join(BREAK);
}

/** Lines below a run: why nothing was reused, notes, and the recommendation. */
export function notesOf(run, language = locale()) {
  const lines = run.why.map((line) => sentence(line, language));
  return run.advice ? [...lines, say("advice", { advice: sentence(run.advice, language) }, language)] : lines;
}

/** found: as cleanRecognised gives it. Of a model that is not known no blocks are; not every one refreshes its audio. */
export function foundText(found, language = locale()) {
  return say(found.refreshes ? "recognised" : found.blocks ? "blocks" : "unknown", found, language);
}

export function countsText(run, language = locale()) {
  const values = { done: run.cells.length, steps: run.expected, computed: run.computed, reused: run.reused, live: run.live };
  const head = run.replay ? say("replay", { replay: sentence(run.replay, language) }, language) : run.number > 1 ? say("number", { number: run.number }, language) : "";
  const middle = say(run.calibration ? "calibrating" : run.live ? "counts_live" : "counts", values, language);
  const speed = run.speedup && !run.calibration ? say("speed", { speed: run.speedup.toFixed(1) }, language) : "";
  return head + middle + speed + (run.ended && !run.finished ? say("interrupted", {}, language) : "");
}

/** Where a run of so many steps leaves little to skip, else "". steps: of the run to come, null = not known. */
export function fewText(facts, steps, language = locale()) {
  const known = steps ?? facts.size?.expected ?? null;
  const some = known !== null && known <= FEW_STEPS && !facts.linked && (facts.wish.target > 1 || facts.wish.threshold > 0);
  if (!some) return "";
  return say("few", { steps: known }, language);
}

/** Whether some steps will be live: as the nodes have it, not where the probe decides, nor without a mask. */
function lives({ wish, size }) {
  return Boolean(wish.live && wish.live !== OFF && wish.masked && !wish.probing && size.livable);
}

export function predictionText(facts, language = locale()) {
  if (facts.linked) {
    if (!facts.plan) return say("plan_unknown", {}, language);
    return say("planned", { ...planValues(facts.plan), how: say(facts.plan.measured ? "how_measured" : "how_predicted", {}, language) }, language);
  }
  if (facts.wish.connected) return say("connected", {}, language);
  if (facts.wish.threshold) return say("probed", {}, language);
  if (facts.wish.target <= 1) return say("off", {}, language);
  if (!facts.size) return say("waiting", { speed: facts.wish.target.toFixed(1) }, language);
  if (lives(facts)) return say("live_ahead", { speed: facts.wish.target.toFixed(1) }, language);
  const guess = predict(facts.size, facts.wish);
  const values = { speed: guess.speedup.toFixed(1), computed: guess.computed, steps: guess.steps, memory: guess.bytes === null ? say("unmeasured", {}, language) : readable(guess.bytes) };
  return say(guess.here ? "predicted_here" : "predicted", values, language);
}

function planValues(plan) {
  return {
    speed: plan.speedup.toFixed(2), computed: plan.cells.split("c").length - 1, steps: plan.cells.length,
    error: percent(plan.error), memory: readable(plan.bytes),
  };
}

// -- elements ---------------------------------------------------------------------------------------------------------

const STYLE = `
.synccache-strip, .synccache-plan { display: flex; flex-direction: column; gap: 4px; box-sizing: border-box; width: 100%;
  padding: 6px 8px; overflow: hidden auto; font: 12px/1.35 system-ui, sans-serif; color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 6px; }
.synccache-strip [data-part]:empty, .synccache-plan [data-part]:empty { display: none; }
.synccache-quiet { color: var(--descrip-text, #999); }
.synccache-cells { display: flex; align-items: flex-end; gap: 1px; height: 34px; flex: none; }
.synccache-cells > span { position: relative; flex: 1 1 0; min-width: 0; border-radius: 2px 2px 0 0; }
.synccache-cells > [data-action=compute] { height: 100%; background: #4a9eec; }
.synccache-cells > [data-action=live] { height: 78%; background: #4080bf; }
.synccache-cells > [data-action=reuse] { height: 55%; background: #35618f; }
.synccache-cells > [data-action=wait] { height: 55%; background: var(--border-color, #4e4e4e); opacity: 0.5; }
.synccache-cells i { position: absolute; left: 0; right: 0; height: 2px; background: #f7b83e; }
.synccache-bar { height: 8px; flex: none; border-radius: 4px; background: #2d3e54; overflow: hidden; }
.synccache-bar > span { display: block; height: 100%; background: #4a9eec; }
.synccache-front { width: 100%; height: 130px; flex: none; }
.synccache-front text { fill: var(--descrip-text, #999); font: 10px system-ui, sans-serif; }
.synccache-front polyline { fill: none; stroke: #4a9eec; stroke-width: 1.5; }
.synccache-front [data-point] { fill: #4a9eec; stroke: transparent; stroke-width: 8; cursor: pointer; outline: none; }
.synccache-front [data-point]:hover { fill: var(--input-text, #ddd); }
.synccache-front [data-point]:focus-visible { stroke: var(--input-text, #ddd); stroke-width: 2; }
.synccache-front [data-point][aria-pressed=true] { fill: #f7b83e; }`;

function element(tag, attributes = {}, children = []) {
  const svg = ["svg", "polyline", "circle", "text"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function part(name, attributes = {}) {
  return element("div", { "data-part": name, ...attributes });
}

/** One element per step; changes: of the probe, drawn as a line across each cell. */
function cellElements(done, expected, changes = []) {
  const most = Math.max(...changes.filter((c) => c !== null), 0);
  return Array.from({ length: expected }, (_, i) => {
    const action = { c: "compute", l: "live", r: "reuse" }[done[i]] ?? "wait";
    const change = changes[i] ?? null;
    const title = say("cell", { step: i + 1, action: say(action) }) + (change === null ? "" : say("probe", { change: change.toPrecision(2) }));
    const mark = change === null || !most ? [] : [element("i", { style: `bottom: ${Math.round(90 * (change / most))}%` })];
    return element("span", { "data-step": i, "data-action": action, title }, mark);
  });
}

function barElement(share) {
  const filled = element("span", { style: `width: ${Math.round(100 * Math.min(1, share))}%` });
  return element("div", { class: "synccache-bar", "aria-hidden": "true" }, [filled]);
}

/** Keys and clicks for something that acts like a button and must not reach the canvas. */
function pressable(target, act) {
  target.addEventListener("click", (event) => { event.stopPropagation(); act(); });
  target.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
}

/** Speed against error as points to choose from; error on a logarithmic axis. */
function frontElement(front, chosen, choose) {
  const [width, height, left, bottom] = [300, 130, 44, 16];
  const errors = front.map((p) => Math.log10(Math.max(p.error, 1e-6)));
  const [low, high] = [Math.min(...errors), Math.max(...errors)];
  const [slow, fast] = [Math.min(...front.map((p) => p.speedup)), Math.max(...front.map((p) => p.speedup))];
  const x = (p) => left + 8 + ((width - left - 18) * (p.speedup - slow)) / (fast - slow || 1);
  const y = (i) => 8 + ((height - bottom - 18) * (high - errors[i])) / (high - low || 1);
  const line = element("polyline", { points: front.map((p, i) => `${x(p)},${y(i)}`).join(" ") });
  const points = front.map((p, i) => {
    const label = say("point", planValues(p));
    const circle = element("circle", {
      cx: x(p), cy: y(i), r: 4, role: "button", tabindex: "0", "data-point": i, "aria-label": label, "aria-pressed": String(p === chosen),
    }, [element("title", { text: label })]);
    pressable(circle, () => choose(p));
    return circle;
  });
  const labels = [
    [left - 2, 12, percent(10 ** high), "end"], [left - 2, height - bottom - 4, percent(10 ** low), "end"],
    [left + 8, height - 3, `${slow.toFixed(1)}×`, "start"], [width - 10, height - 3, `${fast.toFixed(1)}×`, "end"],
  ].map(([at, up, words, anchor]) => element("text", { x: at, y: up, "text-anchor": anchor, text: words }));
  const attributes = { viewBox: `0 0 ${width} ${height}`, class: "synccache-front", role: "group", "aria-label": say("front") };
  return element("svg", attributes, [line, ...labels, ...points]);
}

// -- the strip --------------------------------------------------------------------------------------------------------

class Strip {
  constructor(node, presets) {
    this.node = node;
    this.presets = presets;
    this.state = {};
    this.followed = new WeakSet();
    this.parts = {
      recognised: part("recognised"), prediction: part("prediction", { class: "synccache-quiet" }), few: part("few"),
      cells: part("cells", { class: "synccache-cells", role: "img" }), counts: part("counts"),
      memory: part("memory", { class: "synccache-quiet" }), notes: part("notes"), status: part("status", { role: "status", class: "synccache-quiet" }),
    };
    this.root = element("div", { class: "synccache-strip", role: "group", "aria-label": say("strip") }, Object.values(this.parts));
    addWidget(node, "synccache_strip", this.root, 150);
    this.restore();
  }

  /** What the workflow kept of the last run. */
  restore() {
    const kept = this.node.properties?.[KEPT] ?? {};
    this.state = { run: cleanRun(kept.run), size: cleanRun(kept.size), plan: cleanPlan(kept.plan), without: text(kept.without) };
    this.render();
  }

  take(event) {
    if ("recognised" in event) this.state.recognised = cleanRecognised(event.recognised);
    if ("plan" in event) {
      const plan = cleanPlan(event.plan), paper = widget(this.node, "preset")?.value === PAPER; // which has no say with a plan
      this.state = { ...this.state, plan, without: plan || paper ? "" : planSource(this.node) };
    }
    if ("text" in event) this.state = { ...this.state, run: null, text: said(event.text) };
    if ("run" in event) {
      const run = cleanRun(event.run), before = this.state.run;
      const goesOn = run && before && !before.ended && run.cells.length >= before.cells.length;
      if (run) run.steps = goesOn ? before.steps : this.stepsAhead(); // the widget may be changed while it runs
      this.state = { ...this.state, run, text: "" };
      const expected = goesOn && run.ended && !run.finished ? before.expected : run?.expected; // the end tells what was done
      if (run && run.share !== null && (run.residual_bytes || run.level === "output") && run.expected) this.state.size = { ...run, expected, cells: "", changes: [], why: [], advice: "" };
    }
    this.node.properties[KEPT] = { run: this.state.run, size: this.state.size ?? null, plan: this.state.plan ?? null, without: this.state.without ?? "" };
    this.render();
  }

  render() {
    const { run, size, recognised, plan, text: remark } = this.state;
    const found = recognised?.model ? recognised : run?.model ? run : null;
    this.parts.recognised.textContent = found ? foundText(found) : "";
    const steps = this.stepsAhead();
    const facts = this.predicts() ? { ...this.wish(), size: ahead(size, steps), plan } : null;
    this.parts.prediction.textContent = facts ? predictionText(facts) : "";
    this.parts.few.textContent = facts ? fewText(facts, steps) : "";
    this.parts.cells.replaceChildren(...(run ? cellElements(run.cells, run.expected, run.changes) : []));
    this.parts.counts.textContent = run ? countsText(run) : "";
    this.parts.cells.setAttribute("aria-label", this.parts.counts.textContent);
    Object.assign(this.parts.counts.dataset, { computed: run?.computed ?? 0, reused: run?.reused ?? 0, steps: run?.expected ?? 0 });
    const limit = run?.limit ? say("of", { limit: readable(run.limit) }) : "";
    const bar = run?.limit ? [barElement(run.held / run.limit)] : [];
    this.parts.memory.replaceChildren(...(run && !run.calibration ? [say("held", { held: readable(run.held) }) + limit, ...bar] : []));
    this.parts.notes.replaceChildren(...(run ? notesOf(run) : []).map((line) => element("div", { text: line })));
    this.parts.status.textContent = remark ? sentence(remark) : "";
    this.node.setDirtyCanvas?.(true, false);
  }

  /** Of the first node behind this one that has them, sampler or scheduler; null where there is none. Its changes are seen. */
  stepsAhead() {
    const found = samplerSteps(this.node);
    if (found && !this.followed.has(found)) {
      this.followed.add(found);
      onChange(found, () => this.render());
    }
    return number(found?.value, 0, MOST_STEPS);
  }

  /** A calibration reuses nothing. */
  predicts() {
    return this.node.comfyClass === "SyncCache";
  }

  wish() {
    const value = (name, otherwise) => number(widget(this.node, name)?.value) ?? otherwise;
    const preset = this.presets[widget(this.node, "preset")?.value];
    const [target, ratio] = preset ?? [value("target_speedup", 3), value("cache_ratio", 1)];
    const paper = widget(this.node, "preset")?.value === PAPER;
    const linked = !paper && isFed(this.node, "plan_json") && this.state.without !== planSource(this.node);
    const asked = widget(this.node, "forecast_order")?.value;
    const order = paper ? 0 : asked >= 0 ? asked : AUTO_ORDER;
    const custom = widget(this.node, "preset")?.value === CUSTOM;
    const threshold = paper || custom ? value("probe_threshold", 0) : 0;
    const probing = paper || threshold > 0;
    const masked = isFed(this.node, "human_mask");
    const settings = [...SETTINGS, ...(custom ? ["target_speedup", "cache_ratio"] : []), ...(paper || custom ? ["probe_threshold"] : [])];
    const connected = settings.some((name) => isFed(this.node, name));
    const warmup = widget(this.node, "warmup")?.value ?? -1;
    const reuse = REUSE[widget(this.node, "reuse")?.value] ?? AUTO;
    return { linked, wish: { target, ratio, order, paper, preset: Boolean(preset), reuse, probing, threshold, masked, connected, warmup, live: widget(this.node, "live")?.value, limit: value("memory_budget_gb", 0) * UNITS.GiB } };
  }
}

/** A preset moves the sliders, a moved slider is no preset any more; every change is predicted at once. */
function couple(node, strip) {
  const sliders = ["target_speedup", "cache_ratio"].map((name) => widget(node, name));
  const preset = widget(node, "preset");
  let busy = false;
  const quietly = (work) => {
    if (busy) return;
    busy = true;
    try { work(); } finally { busy = false; }
    strip.render();
  };
  if (preset && sliders.every(Boolean)) {
    onChange(preset, () => quietly(() => strip.presets[preset.value]?.forEach((value, i) => setValue(node, sliders[i], value))));
    sliders.forEach((slider, i) => onChange(slider, () => quietly(() => {
      const asked = strip.presets[preset.value];
      if (asked && asked[i] !== slider.value) setValue(node, preset, CUSTOM);
    })));
  }
  for (const name of ["forecast_order", "warmup", "memory_budget_gb", "reuse", "probe_threshold", "live"]) {
    const other = widget(node, name);
    if (other) onChange(other, () => strip.render());
  }
  after(node, "onConnectionsChange", () => strip.render());
}

// -- plans ------------------------------------------------------------------------------------------------------------

class PlanView {
  constructor(node) {
    this.node = node;
    this.plan = this.shown = null;
    this.hint = "";
    this.parts = {
      timeline: part("timeline", { class: "synccache-cells", role: "img" }), summary: part("summary", { role: "status" }),
      front: part("front"), memory: part("memory", { class: "synccache-quiet" }), lines: part("lines", { class: "synccache-quiet" }),
    };
    this.root = element("div", { class: "synccache-plan", role: "group", "aria-label": say("plan") }, Object.values(this.parts));
    addWidget(node, "synccache_plan", this.root, node.comfyClass === "SyncCacheLoadPlan" ? 130 : 300);
    this.restore();
  }

  restore() {
    this.take(this.node.properties?.[KEPT]?.plan);
  }

  take(view) {
    this.plan = this.shown = cleanPlan(view);
    this.hint = "";
    if (this.plan) this.node.properties[KEPT] = { plan: this.plan };
    this.render();
  }

  choose(point) {
    const slider = widget(this.node, "target_speedup");
    this.shown = point; // so that the slider's own callback finds nothing left to do
    if (slider) setValue(this.node, slider, point.target);
    this.show(point, say("choose"));
    this.parts.front.querySelector("[aria-pressed=true]")?.focus({ preventScroll: true });
  }

  /** The slider was moved: of the known plans the one that comes nearest. */
  near(target) {
    const front = this.plan?.front ?? [];
    if (!front.length || this.shown?.target === target) return;
    const nearest = front.reduce((a, b) => (Math.abs(b.target - target) < Math.abs(a.target - target) ? b : a));
    this.show(nearest, say("choose"), say("about"));
  }

  show(point, hint, head = "") {
    this.shown = point;
    this.hint = hint;
    this.head = head;
    this.render();
  }

  render() {
    const { plan, shown, parts } = this;
    const how = say(shown?.measured ? "how_measured" : "how_predicted");
    parts.timeline.replaceChildren(...(shown ? cellElements(shown.cells, shown.cells.length) : []));
    parts.summary.textContent = shown ? [(this.head ?? "") + say("planned", { ...planValues(shown), how }), this.hint].filter(Boolean).join(" ") : say("empty");
    parts.timeline.setAttribute("aria-label", parts.summary.textContent);
    const pressed = plan?.front.find((p) => p === shown || p.cells === shown.cells);
    parts.front.replaceChildren(...(plan?.front.length > 1 ? [frontElement(plan.front, pressed, (p) => this.choose(p))] : []));
    const room = plan?.room ?? 0;
    parts.memory.replaceChildren(...(room ? [say("room", { held: readable(shown.bytes), limit: readable(room) }), barElement(shown.bytes / room)] : []));
    parts.lines.replaceChildren(...(shown === plan ? plan?.lines ?? [] : []).map((line) => element("div", { text: sentence(line) })));
    this.node.setDirtyCanvas?.(true, false);
  }
}

// -- the editor -------------------------------------------------------------------------------------------------------

function widget(node, name) {
  return node.widgets?.find((w) => w.name === name);
}

/** The widget `steps` of the nearest node that a model goes to from here, through any others; none where a link feeds it. */
export function samplerSteps(start) {
  const seen = new Set([start]);
  for (const node of seen) { // grows
    const steps = node === start ? null : widget(node, "steps");
    if (steps) return node.inputs?.some((input) => input.widget?.name === "steps" && input.link != null) ? null : steps;
    const links = (node.outputs ?? []).filter((output) => output.type === "MODEL").flatMap((output) => output.links ?? []);
    for (const id of links) {
      const next = node.graph?.getNodeById?.(node.graph.getLink?.(id)?.target_id);
      if (next) seen.add(next);
    }
  }
  return null;
}

/** The link into an input, and the node that it comes from, null at the edge of a subgraph. */
function linkInto(node, input) {
  const link = input?.link == null ? null : node.graph?.getLink?.(input.link);
  return [link, link ? (node.graph.getNodeById?.(link.origin_id) ?? null) : null];
}

/** Whether something comes in there: a muted node gives nothing, a bypassed one what it is given of the same type. */
export function isFed(node, name) {
  let input = node.inputs?.find((each) => each.name === name);
  for (const seen = new Set(); input && !seen.has(input); ) {
    seen.add(input);
    const [link, origin] = linkInto(node, input);
    if (!link || origin?.mode === NEVER) return false;
    if (origin?.mode !== BYPASS) return true;
    const type = origin.outputs?.[link.origin_slot]?.type, inputs = origin.inputs ?? [];
    [node, input] = [origin, [inputs[link.origin_slot], ...inputs].find((each) => each?.type === type)];
  }
  return false;
}

/** Where a plan comes from, and the text there: "" where none is connected. */
function planSource(node) {
  const [link, origin] = linkInto(node, node.inputs?.find((each) => each.name === "plan_json"));
  return link ? text([link.origin_id, link.origin_slot, ...(origin?.widgets ?? []).map((each) => each.value)].join(" ")) : "";
}

function setValue(node, target, value) {
  target.value = value;
  target.callback?.(value, app.canvas, node);
}

function onChange(target, act) {
  const before = target.callback;
  target.callback = function (...given) {
    const result = before?.apply(this, given);
    act();
    return result;
  };
}

function after(object, name, act) {
  const before = object[name];
  object[name] = function (...given) {
    const result = before?.apply(this, given);
    act(...given);
    return result;
  };
}

function addWidget(node, name, root, height) {
  const made = node.addDOMWidget(name, name, root, { serialize: false, hideOnZoom: false, getMinHeight: () => height });
  made.serialize = false; // the workflow's widget values stay those that a ComfyUI without this file knows
  root.addEventListener("wheel", (event) => {
    if (!globalThis.LiteGraph?.vueNodesMode) app.canvas?.processMouseWheel?.(event); // there, events bubble by themselves
  });
}

/** The editor notices changes by pointer and key; a run that ended is one as well, or a reload would forget it. */
function remember() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

/** id: "3", or "5:3" for node 3 in the subgraph of node 5. */
function nodeById(id) {
  const path = String(id).split(":");
  let graph = app.rootGraph ?? app.graph;
  for (const step of path.slice(0, -1)) graph = graph?.getNodeById?.(step)?.subgraph;
  return graph?.getNodeById?.(path.at(-1));
}

function openWorkflow() {
  return (app.rootGraph ?? app.graph)?.id;
}

/** Whether what runs is another workflow than the open one, whose node of that id is another; not where either has no id. */
export function isElsewhere(event, open) {
  return Boolean(event?.workflow && open && event.workflow !== open);
}

/** What nodes of workflows that are not open would show, until they are. */
export class Waiting {
  constructor() {
    this.events = new Map();
  }

  keep(event) {
    const key = `${event.workflow} ${event.node}`, before = this.events.get(key) ?? {};
    if ("run" in event || "text" in event) ["run", "text"].forEach((name) => delete before[name]); // one is in the other's place
    this.events.delete(key); // so that it is the newest
    this.events.set(key, { ...before, ...event });
    if (this.events.size > MOST_WAITING) this.events.delete(this.events.keys().next().value);
  }

  /** What waited for a workflow, and waits no more. */
  take(workflow) {
    const found = [...this.events].filter(([, event]) => event.workflow === workflow);
    found.forEach(([key]) => this.events.delete(key));
    return found.map(([, event]) => event);
  }
}

const waiting = new Waiting();
const told = new Map(); // node's id -> the newest lines that it told, of the open workflow
let toldIn; // the id of that workflow

/** As if the server had sent a node's text in the person's language: the editor shows it where the English one is. */
function retell(nodeId) {
  const text = translated(told.get(nodeId));
  if (text && nodeById(nodeId)?.comfyClass?.startsWith("SyncCache")) api.dispatchEvent(new CustomEvent("progress_text", { detail: { nodeId, text } }));
}

/** Newer editors (1.58) take the texts of nodes away when a run is over, also of nodes that did not run: they are wanted just then. */
function keepTexts() {
  const again = () => setTimeout(() => [...told.keys()].forEach(retell), 0);
  for (const end of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(end, again);
}

/** An event of the open workflow. */
function show(event) {
  if (event?.lines) told.set(event.node, event.lines);
  if (event?.lines && locale() !== "en") retell(event.node);
  const strip = shownOn.get(nodeById(event?.node));
  if (strip instanceof Strip) strip.take(event);
}

/** A sampler may get its steps after the strip that foretells them, a plan's node be bypassed. */
function renderStrips() {
  for (const node of app.graph?.nodes ?? []) if (shownOn.get(node) instanceof Strip) shownOn.get(node).render();
}

const shownOn = new WeakMap(); // node -> what it shows

function dress(node) {
  const kind = node.comfyClass;
  if (STRIPS.includes(kind)) {
    const presets = node.constructor.nodeData?.input?.required?.preset?.[1]?.synccache_presets ?? {};
    const strip = new Strip(node, presets);
    couple(node, strip);
    shownOn.set(node, strip);
  } else if (PLANS.includes(kind)) {
    const view = new PlanView(node);
    const slider = widget(node, "target_speedup");
    if (slider) onChange(slider, () => view.near(slider.value));
    after(node, "onExecuted", (output) => output?.[VIEW] && view.take(output[VIEW][0]));
    shownOn.set(node, view);
  }
  for (const moment of ["onAdded", "onConfigure"]) { // a node has no id before
    after(node, moment, () => {
      shownOn.get(node).root.dataset.nodeId = String(node.id);
      shownOn.get(node).restore();
    });
  }
}

app.registerExtension({
  name: "SyncCache",
  init() {
    document.head.append(element("style", { text: STYLE }));
    keepTexts();
    api.addEventListener("graphChanged", renderStrips);
    api.addEventListener(EVENT, ({ detail }) => {
      if (isElsewhere(detail, openWorkflow())) {
        waiting.keep(detail);
        retell(detail.node); // the editor goes by the node's id alone
        return;
      }
      show(detail);
      if (detail?.run?.ended) remember();
    });
  },
  afterConfigureGraph() {
    const open = openWorkflow();
    if (!open || open !== toldIn) told.clear();
    toldIn = open;
    [...told.keys()].forEach(retell); // the editor reloads a workflow for another language, without the texts of its nodes
    for (const event of waiting.take(open)) {
      show(event);
      retell(event.node);
    }
    renderStrips();
  },
  nodeCreated(node) {
    if (STRIPS.includes(node.comfyClass) || PLANS.includes(node.comfyClass)) dress(node);
  },
});
