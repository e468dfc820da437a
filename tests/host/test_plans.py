"""Calibration -> plan -> file -> plan, with the nodes as the host calls them; hostile plans, names and values."""

import asyncio
import importlib
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.host
OPTIMISE = {"target_speedup": 2.5, "cache_ratio": 0.5, "memory_gb": 0.0, "name": "studio"}


@pytest.fixture(scope="module")
def pack(comfy):
    """The pack's modules as the host imported them: errors and plans are classes of those."""
    root = comfy.core.__name__.rpartition(".")[0]
    ours = [f"nodes.{name}" for name in ("optimizer", "plans", "pictures.chart", "pictures.drawing")]
    ours += [f"synccache_core.{name}" for name in (
        "planning.recording", "planning.plan", "planning.saved", "planning.planner", "errors", "model.layout", "model.cost",
    )]
    return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(f"{root}.{name}") for name in ours})


@pytest.fixture
def folder(comfy, pack, tmp_path, monkeypatch):
    """An empty plan folder in place of models/synccache_plans, and a temp folder for previews."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, pack.plans.FOLDER, ([str(tmp_path / "plans")], set()))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "plans"


@pytest.fixture
def recording(pack):
    """Ten steps of a smooth path with both levels, a human region and four refreshes."""
    draw, sigmas = np.random.default_rng(0), np.linspace(1.0, 0.0, 11)
    steady = np.stack([np.ones(10), sigmas[:-1], np.sin(4 * sigmas[:-1])], 1) @ draw.normal(size=(3, 30))
    grams = {}
    for track in [(level, region) for level in ("output", "residual") for region in ("whole", "human")]:
        values = steady + 0.05 * draw.normal(size=steady.shape).cumsum(0)
        grams[track] = values @ values.T
    drift = 0.1 * draw.normal(size=(4, 3))
    run = pack.plan.RunFacts(10, tuple(sigmas.tolist()), "euler", 4.5)
    cost = pack.cost.CostModel(10.0, 1.0, 2.0, pack.layout.Layout(9, (0, 2, 5, 8)))
    return pack.recording.Recording("toy", run, cost, grams, drift @ drift.T, 1 << 20, 1 << 10)


def call(node, **inputs):
    class WithId(node):
        hidden = SimpleNamespace(unique_id="7")

    return WithId.execute(**inputs)


def optimise(pack, recording, **changes):
    samples = changes.pop("samples", {"samples": torch.zeros(1)})
    run = SimpleNamespace(of=lambda latent: SimpleNamespace(recording=lambda: recording))
    return call(pack.optimizer.SyncCacheScheduleOptimizer, run=run, samples=samples, **{**OPTIMISE, **changes})


def nodes_of(pack):
    return pack.optimizer.SyncCacheScheduleOptimizer, pack.plans.SyncCacheSavePlan, pack.plans.SyncCacheLoadPlan


def test_the_schemas_load_and_explain_themselves(pack, folder):
    for node in nodes_of(pack):
        declared = node.INPUT_TYPES()
        inputs = {**declared["required"], **declared.get("optional", {})}
        assert [name for name, spec in inputs.items() if not spec[1].get("tooltip")] == []
        assert node.define_schema().node_id == node.__name__ and node.define_schema().description
    inputs = pack.optimizer.SyncCacheScheduleOptimizer.INPUT_TYPES()
    assert list(inputs["required"]) == ["run", "samples", "target_speedup"]
    assert list(inputs["optional"]) == [
        "cache_ratio", "memory_gb", "name", "level", "forecast_order", "correction", "human_weight",
    ]  # fmt: skip
    schema = pack.optimizer.SyncCacheScheduleOptimizer.define_schema()
    assert [(o.io_type, o.display_name) for o in schema.outputs] == [
        ("STRING", "plan_json"), ("IMAGE", "chart"), ("LATENT", "samples"),
    ]  # fmt: skip


def test_the_optimizer_gives_a_plan_a_chart_and_the_samples(pack, recording, folder, tmp_path):
    samples = {"samples": torch.arange(4.0)}
    result = optimise(pack, recording, samples=samples)
    text, chart, passed = result.args
    plan = pack.plan.Plan.from_json(text)
    assert passed is samples and plan.predicted.speedup == pytest.approx(2.5, rel=0.15)
    assert plan.run == recording.run and plan.budget == pack.plan.Budget(speedup=2.5, cache_ratio=0.5)
    assert plan.provenance.note.startswith("studio; ") and "nothing like this plan was sampled" in plan.provenance.note
    assert chart.shape == (1, pack.chart.HEIGHT, pack.drawing.WIDTH, 3) and chart.dtype == torch.float32
    assert chart.min() >= 0 and chart.max() <= 1 and chart.std() > 0.05
    preview = result.ui["images"][0]
    assert preview["type"] == "temp" and (tmp_path / "temp" / preview["filename"]).is_file()
    assert f"{len(plan.schedule)} of 10 steps computed" in result.ui["text"][0]


def test_every_point_of_the_menu_is_the_plan_that_its_target_gives(pack, recording, folder):
    """What the editor draws of a point before it is planned is what planning gives."""
    shown = optimise(pack, recording, cache_ratio=1.0).ui["synccache_plan"][0]
    assert shown["target"] == 2.5 and shown["room"] > 0 and len(shown["front"]) > 3
    for point in shown["front"]:
        result = optimise(pack, recording, cache_ratio=1.0, target_speedup=point["target"])
        plan, again = pack.plan.Plan.from_json(result.args[0]), result.ui["synccache_plan"][0]
        assert point["cells"] == again["cells"] == "".join("c" if full else "r" for full in plan.mask)
        assert (point["speedup"], point["error"], point["bytes"]) == (again["speedup"], again["error"], again["bytes"])
    speeds, errors = ([point[key] for point in shown["front"]] for key in ("speedup", "error"))
    assert speeds == sorted(speeds) and errors == sorted(errors)


def test_the_chart_shows_errors_that_add_up(pack, recording):
    for level, correction in (("output", "on"), ("residual", "off")):
        recipes = pack.optimizer.allowed(recording, level, "2", correction)
        planner = pack.optimizer.Planner(recording, recipes=recipes, human_weight=0.6)
        choice = planner.choose(pack.plan.Budget(computed=4))
        shown = pack.optimizer.chart_of(planner, planner.plan(choice, pack.plan.Budget(computed=4), "0"), choice, 0.6, "x")
        assert len(shown.gaps) == choice.computed and math.hypot(*shown.gaps) == pytest.approx(choice.step_error, rel=1e-6)


def test_correction_is_planned_where_the_sampler_can_have_it(pack, recording):
    def kinds(sampler, correction):
        used = replace(recording, run=replace(recording.run, sampler=sampler))
        recipes = pack.optimizer.allowed(used, "auto", "1", correction)
        return {(r.variant.level, r.variant.correction) for r in recipes}

    plain, corrected = ({(level, correction) for level in ("output", "residual")} for correction in (False, True))
    for sampler in ("euler", "uni_pc"):
        assert kinds(sampler, "auto") == plain | corrected and kinds(sampler, "on") == corrected
    assert kinds("er_sde", "auto") == plain
    with pytest.raises(pack.errors.BadConfig, match="correction is on: .*used 'er_sde', and level is 'auto'"):
        kinds("er_sde", "on")


def test_settings_narrow_the_choice(pack, recording, folder):
    def plan(**changes):
        return pack.plan.Plan.from_json(optimise(pack, recording, **changes).args[0])

    for level in ("output", "residual"):
        for order in ("0", "1", "2"):
            got = plan(level=level, forecast_order=order, correction="on" if order == "1" else "off")
            assert (got.level, got.order, got.correction) == (level, int(order), order == "1")
    assert plan(memory_gb=1e-7).plain  # takes no memory at all
    tight = plan(memory_gb=3 / 1024, level="residual", forecast_order="0", correction="off")
    assert tight.predicted.bytes <= 3 << 20 and tight.budget.bytes == 3 << 20 and tight.budget.cache_ratio is None
    assert plan(cache_ratio=0.25, level="residual").groups == ((1, 2, 3),)
    assert plan(target_speedup=1.0).schedule == tuple(range(10))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target_speedup": 0.5}, r"target_speedup must be a number in 1.0..8.0, got 0.5"),
        ({"target_speedup": math.nan}, "target_speedup must be .* got nan"),
        ({"cache_ratio": 0.0}, "cache_ratio must be a number in 0.05..1.0, got 0.0"),
        ({"memory_gb": -1.0}, "memory_gb must be .*0.0..1024.0, got -1.0"),
        ({"memory_gb": math.inf}, "memory_gb must be .* got inf"),
        ({"memory_gb": 1e-7, "level": "output"}, "memory_gb 1e-07: .*107 bytes.*smallest plan takes 1.00 KiB"),
        ({"human_weight": 1.5}, "human_weight must be a number in 0.0..1.0, got 1.5"),
        ({"level": "both"}, "level must be one of auto, output, residual, got 'both'"),
        ({"forecast_order": "3"}, "forecast_order must be one of auto, 0, 1, 2, got '3'"),
        ({"forecast_order": 1}, "forecast_order must be one of auto, 0, 1, 2, got 1"),
        ({"correction": "maybe"}, "correction must be one of auto, on, off, got 'maybe'"),
        ({"name": ""}, "name must be text of 1 to 80"),
        ({"name": "a\nb"}, r"name must be text .* got 'a\\nb'"),
        ({"name": "x" * 81}, "name must be text of 1 to 80"),
    ],
)
def test_bad_values_are_refused_by_name(pack, recording, folder, changes, message):
    with pytest.raises(pack.errors.SyncCacheError, match=message):
        optimise(pack, recording, **changes)
    assert not folder.exists()


def replayed(pack, recording, errors):
    """The recording with replays at 2.5x: kind of plan -> measured error."""
    planner, budget = pack.planner.Planner(recording), pack.plan.Budget(speedup=2.5, cache_ratio=1.0)
    tried = []
    for choice in planner.trials(budget, 4):
        plan = planner.plan(choice, budget, "0")
        kind = "plain" if plan.plain else "default" if plan.backtest else "corrected"
        tried.append(replace(plan, measured=pack.plan.Scores(errors[kind], 2.0, 0)))
    return replace(recording, replays=tuple(tried))


def test_what_was_tried_decides_and_the_text_says_so(pack, recording, folder):
    given = replayed(pack, recording, {"default": 0.2, "plain": 0.01, "corrected": 0.02})
    result = optimise(pack, given)
    plan, text = pack.plan.Plan.from_json(result.args[0]), result.ui["text"][0]
    assert plan.plain and plan.measured.error == 0.01 and plan.predicted.error == pytest.approx(0.01)
    assert "4 of 10 steps taken" in text and "takes fewer steps, at noise levels of its own; nothing is reused" in text
    assert "note: measured on one clip" in text and result.ui["synccache_plan"][0]["cells"].count("c") == 4
    elsewhere = pack.plan.Plan.from_json(optimise(pack, given, target_speedup=1.5).args[0])
    assert elsewhere.plain and elsewhere.measured is None and "carried over from another speed" in elsewhere.provenance.note
    fixed = pack.plan.Plan.from_json(optimise(pack, given, level="output").args[0])
    assert fixed.correction and not fixed.plain and fixed.predicted.error == pytest.approx(0.02)
    nothing = replayed(pack, recording, {"default": 0.01, "plain": 0.01, "corrected": 0.02})
    assert "calibrating gains nothing here" in optimise(pack, nothing).ui["text"][0]


def test_a_level_that_was_not_recorded_is_refused(pack, recording, folder):
    outputs = {track: gram for track, gram in recording.grams.items() if track[0] == "output"}
    with pytest.raises(pack.errors.BadConfig, match="'residual' was not recorded, this calibration holds output"):
        optimise(pack, replace(recording, grams=outputs), level="residual")
    assert pack.plan.Plan.from_json(optimise(pack, replace(recording, grams=outputs)).args[0]).level == "output"


def test_a_run_without_a_calibration_says_so(pack, folder):
    def nothing(latent):
        raise pack.errors.StateError("no calibration yet")

    inputs = {"run": SimpleNamespace(of=nothing), "samples": {"samples": torch.zeros(1)}, **OPTIMISE}
    with pytest.raises(pack.errors.StateError, match="no calibration yet"):
        call(pack.optimizer.SyncCacheScheduleOptimizer, **inputs)


@pytest.fixture
def plan_json(pack, recording, folder):
    return optimise(pack, recording).args[0]


def save(pack, plan_json, name="studio"):
    return call(pack.plans.SyncCacheSavePlan, plan_json=plan_json, name=name)


def load(pack, name="studio"):
    return call(pack.plans.SyncCacheLoadPlan, plan=name).args[0]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(pack, folder, plan_json):
    result = save(pack, plan_json)
    assert result.args == (plan_json,) and "saved as plans/studio.json" in result.ui.as_dict()["text"][0]
    assert load(pack) == plan_json == (folder / "studio.json").read_text(encoding="utf-8")
    shown = call(pack.plans.SyncCacheLoadPlan, plan="studio").ui["text"][0]
    assert "of 10 steps computed" in shown and "for toy" in shown and "studio" in shown


def test_nothing_that_was_saved_is_replaced(pack, folder, recording, plan_json):
    other = optimise(pack, recording, target_speedup=4.0).args[0]
    later = json.loads(plan_json)
    later["provenance"]["created"] = "2030-01-01"
    save(pack, plan_json)
    assert "already saved as plans/studio.json" in save(pack, plan_json).ui.as_dict()["text"][0]
    assert "already" in save(pack, json.dumps(later)).ui.as_dict()["text"][0]
    assert files(folder) == ["studio.json"]
    assert "saved as plans/studio_2.json" in save(pack, other, "studio.json").ui.as_dict()["text"][0]
    assert "already saved as plans/studio_2.json" in save(pack, other).ui.as_dict()["text"][0]
    (folder / "studio_3.json").write_text("somebody's notes")
    (folder / "Upper.json").write_text(plan_json)
    third = optimise(pack, recording, target_speedup=1.5).args[0]
    save(pack, third)
    save(pack, third, "upper")  # on Windows and macOS upper.json would be Upper.json
    assert files(folder) == sorted(f"{n}.json" for n in ("studio", "studio_2", "studio_3", "studio_4", "Upper", "upper_2"))
    assert load(pack) == plan_json and (folder / "studio_3.json").read_text() == "somebody's notes"


@pytest.mark.parametrize("letters", [78, 79, 80])
def test_a_long_name_that_is_taken_is_shortened(pack, folder, recording, plan_json, letters):
    name = "a" * letters
    save(pack, plan_json, name)
    save(pack, optimise(pack, recording, target_speedup=4.0).args[0], f"{name}.json")
    assert files(folder) == sorted([f"{name}.json", f"{'a' * 78}_2.json"])
    assert "already saved as" in save(pack, plan_json, name).ui.as_dict()["text"][0]
    save(pack, optimise(pack, recording, target_speedup=1.5).args[0], name)
    assert len(files(folder)) == 3 and f"{'a' * 78}_3.json" in files(folder)


def test_a_name_is_not_cut_behind_a_dot_or_a_space(pack, folder, recording, plan_json):
    name = "a" * 77 + ". b"
    save(pack, plan_json, name)
    save(pack, optimise(pack, recording, target_speedup=4.0).args[0], name)
    assert files(folder) == sorted([f"{name}.json", f"{'a' * 77}_2.json"])


@pytest.mark.parametrize(
    "text",
    ["", "not JSON", "[" * 1000, "{}", '{"format": "other"}', "NaN", "x" * (1 << 21), "[]", '{"format": "synccache-plan"}'],
    ids=range(9),
)
def test_a_hostile_plan_is_not_saved(pack, folder, text):
    with pytest.raises(pack.plan.BadInput):
        save(pack, text)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "../out", "/etc/x", "C:\\x", "a/b", "a\0b", "con", "x" * 81, "\uff0e\uff0e", ".x"])
def test_a_hostile_name_leaves_no_file(pack, folder, plan_json, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(pack.plan.BadInput, match="the name"):
        save(pack, plan_json, name)
    left = [path for path in tmp_path.rglob("*") if path not in before]
    assert left in ([], [folder])
    with pytest.raises(pack.plan.BadInput, match="is not in the folder"):
        load(pack, name)


def test_missing_and_bad_files_are_named(pack, folder, plan_json):
    with pytest.raises(pack.plan.BadInput, match="'gone' is not in the folder synccache_plans; it holds none yet"):
        load(pack, "gone")
    save(pack, plan_json)
    with pytest.raises(pack.plan.BadInput, match="'gone' is not .* found: studio"):
        load(pack, "gone")
    for content, message in ((plan_json[:-20], "studio.json: not JSON"), (plan_json.replace("2", "9", 1), "studio.json: ")):
        (folder / "studio.json").write_text(content)
        with pytest.raises(pack.plan.BadInput, match=message):
            load(pack)
    (folder / "studio.json").write_bytes(b"\xff" * 10)
    with pytest.raises(pack.plan.BadInput, match="studio.json: not UTF-8"):
        load(pack)
    assert "not UTF-8" in pack.plans.SyncCacheLoadPlan.fingerprint_inputs(plan="studio")


CARRIED = {
    "a UTF-8 mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "a code block": lambda text: f"Here you are:\n```json\n{text}```\nEnjoy!".encode(),
    "a code block of no language": lambda text: f"```\r\n{text}\r\n```".encode(),
    "a code block in one line": lambda text: f"```{text}```".encode(),
    "invisible characters": lambda text: text.replace(": ", ":\u00a0\u200b").replace("studio", "stu\u200ddio").encode(),
}  # fmt: skip


@pytest.mark.parametrize("way", CARRIED)
def test_a_plan_that_was_carried_about_is_read(pack, folder, plan_json, way):
    folder.mkdir(parents=True)
    (folder / "studio.json").write_bytes(CARRIED[way](plan_json))
    assert load(pack) == plan_json
    if not way.startswith("UTF-16"):
        assert save(pack, CARRIED[way](plan_json).decode(), "pasted").args == (plan_json,)


@pytest.mark.parametrize("ending", [".JSON", ".Json"])
def test_the_ending_may_be_written_in_capitals(pack, folder, plan_json, ending):
    folder.mkdir(parents=True)
    (folder / f"studio{ending}").write_text(plan_json)
    assert pack.plans.saved() == {"studio": folder} and load(pack) == plan_json
    first = pack.plans.SyncCacheLoadPlan.fingerprint_inputs(plan="studio")
    (folder / f"studio{ending}").write_text(plan_json.replace('"note": "studio', '"note": "edited'))
    assert pack.plans.SyncCacheLoadPlan.fingerprint_inputs(plan="studio") != first
    save(pack, plan_json, f"other{ending}")
    assert files(folder) == sorted(["other.json", f"studio{ending}"])


def test_another_encoding_is_told_what_to_save_as(pack, folder, plan_json):
    folder.mkdir(parents=True)
    (folder / "studio.json").write_bytes(plan_json.replace("studio", "st\u00fcdio").encode("latin-1"))
    with pytest.raises(pack.plan.BadInput, match="studio.json: not UTF-8 text, save it as UTF-8"):
        load(pack)


def test_an_edited_file_is_read_again(pack, folder, plan_json):
    save(pack, plan_json)
    node = pack.plans.SyncCacheLoadPlan
    first, linked = node.fingerprint_inputs(plan="studio"), node.fingerprint_inputs(plan=None)
    (folder / "studio.json").touch()
    assert node.fingerprint_inputs(plan="studio") == first
    (folder / "studio.json").write_text(plan_json.replace('"note": "studio', '"note": "edited'))
    assert node.fingerprint_inputs(plan="studio") != first and node.fingerprint_inputs(plan=None) != linked
    assert node.fingerprint_inputs(plan="gone") == ""


def test_the_list_is_fresh_and_the_host_shows_our_sentence(comfy, pack, folder, plan_json, monkeypatch):
    """Through the host's own validation of a prompt, as POST /prompt runs it."""
    import execution

    node = pack.plans.SyncCacheLoadPlan
    monkeypatch.setitem(comfy.nodes.NODE_CLASS_MAPPINGS, "SyncCacheLoadPlan", node)

    def verdict(name):
        prompt = {"1": {"class_type": "SyncCacheLoadPlan", "inputs": {"plan": name}}}
        ok, errors, _ = asyncio.run(execution.validate_inputs("id", prompt, "1", {}))
        return ok, json.dumps(errors)

    def options():
        return node.INPUT_TYPES()["required"]["plan"][1]["options"]

    assert options() == [pack.plans.NOTHING]
    assert not verdict(pack.plans.NOTHING)[0]
    save(pack, plan_json)
    assert options() == ["studio"] and verdict("studio")[0]
    ok, errors = verdict("theirs")
    assert not ok and "'theirs' is not in the folder synccache_plans; found: studio" in errors


def test_extra_folders_are_read_and_never_written(pack, folder, plan_json, recording, tmp_path):
    import folder_paths

    extra = tmp_path / "shared"
    folder_paths.add_model_folder_path(pack.plans.FOLDER, str(extra))
    other = optimise(pack, recording, target_speedup=4.0).args[0]
    pack.saved.save(pack.plan.Plan.from_json(other), extra, "studio")
    pack.saved.save(pack.plan.Plan.from_json(other), extra, "theirs")
    save(pack, plan_json)
    assert list(pack.plans.saved()) == ["studio", "theirs"] and load(pack) == plan_json and load(pack, "theirs") == other
    assert files(extra) == ["studio.json", "theirs.json"] and files(folder) == ["studio.json"]


def test_plans_lie_below_the_models_folder(pack):
    import folder_paths

    pack.plans.register()
    assert folder_paths.get_folder_paths(pack.plans.FOLDER)[0] == f"{folder_paths.models_dir}/synccache_plans"


@pytest.mark.parametrize("node", ["SyncCacheScheduleOptimizer", "SyncCacheLoadPlan", "SyncCacheSavePlan"])
def test_the_help_page_names_every_input_and_output(pack, folder, node):
    from tests.conftest import ROOT

    page = (ROOT / "web" / "docs" / f"{node}.md").read_text(encoding="utf-8")
    schema = next(n for n in nodes_of(pack) if n.__name__ == node).define_schema()
    assert [i.id for i in schema.inputs if f"| {i.id} |" not in page] == []
    assert [o.display_name for o in schema.outputs if f"**{o.display_name}**" not in page] == []
