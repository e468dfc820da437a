"""Plans as files from strangers: round trip, every refusal by name, old versions, names that stay in their folder."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from synccache_core.config import Config
from synccache_core.errors import BadInput
from synccache_core.model.layout import Layout
from synccache_core.planning.plan import VERSION, Plan, RunFacts, check, fingerprint
from synccache_core.planning.saved import load, names, save

FIXTURES = Path(__file__).parent / "plans"
CURRENT = (FIXTURES / f"version_{VERSION}.json").read_text()
LAYOUT = Layout(9, (0, 2, 5))


@pytest.fixture
def plan():
    return Plan.from_json(CURRENT)


def changed(**fields):
    """The fixture with other fields; a dotted name reaches one level down, `...` removes."""
    data = json.loads(CURRENT)
    for name, value in fields.items():
        *above, last = name.split("__")
        place = data[above[0]] if above else data
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return json.dumps(data)


def test_round_trip(plan):
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.mask == (True, False, False, True, False, True) == Config(schedule=plan.mask).schedule
    assert json.loads(plan.to_json()) == json.loads(CURRENT)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("version_*.json")), ids=lambda p: p.stem)
def test_every_version_is_still_read(path, plan):
    assert Plan.from_json(path.read_text()) == plan


def test_a_plain_plan_goes_over_its_own_sigmas(plan):
    fewer = replace(plan, kind="plain", level="output", order=0, groups=(), alpha=0.5)
    assert Plan.from_json(fewer.to_json()) == fewer and fewer.plain and not plan.plain
    assert fewer.own_sigmas == (1.0, 0.78, 0.3, 0.0)
    with pytest.raises(BadInput, match="a plain plan reuses nothing"):
        replace(fewer, order=1)


def test_a_sketch_survives(plan):
    drawn = replace(plan, sketch=((0.5, -1.25),) * 6)
    assert Plan.from_json(drawn.to_json()) == drawn != plan


def test_the_fingerprint_tells_layouts_apart(plan):
    assert fingerprint(LAYOUT) == "after-9x3-" + fingerprint(LAYOUT)[-8:]
    others = [Layout(9, (0, 2, 5), "inside"), Layout(9, (0, 2, 6)), Layout(10, (0, 2, 5)), Layout(9, (0, 2))]
    assert len({fingerprint(layout) for layout in [LAYOUT, *others]}) == 5
    good = replace(plan, layout=fingerprint(LAYOUT))
    check(good, "wan_s2v", LAYOUT)
    with pytest.raises(BadInput, match="'wan_s2v'.*'humo'"):
        check(good, "humo", LAYOUT)
    with pytest.raises(BadInput, match="after-9x3-.*after-10x3-"):
        check(good, "wan_s2v", others[2])
    with pytest.raises(BadInput, match="2 segments, this model has 3"):
        check(replace(good, groups=((1, 2),)), "wan_s2v", LAYOUT)


NOT_PLANS = {
    "nothing": ("", "not JSON"),
    "truncated": (CURRENT[: len(CURRENT) // 2], "not JSON"),
    "list": ("[]", "must be a JSON object, got list"),
    "number": ("3", "must be a JSON object"),
    "large": (" " * (Plan.MAX_BYTES + 1), "too many"),
    "deep": ("[" * 10_000 + "]" * 10_000, "nested 10000 deep"),
    "deep object": ('{"a":' * 5000 + "1" + "}" * 5000, "nested 5000 deep"),
    "unclosed": ("[" * 100_000, "nested 100000 deep"),
    "unclosed string": ('{"a": "' + '\\"' * 200_000, "not JSON"),  # in a second, not in an hour
    "unclosed string in a block": ('```{"a": "' + '\\"' * 200_000, "not JSON"),
    "constant": (CURRENT.replace("4.5", "NaN"), "NaN is not"),
    "infinite": (CURRENT.replace("4.5", "-Infinity"), "-Infinity is not"),
    "huge float": (CURRENT.replace("4.5", "1e400"), "'1e400' is too large"),
    "huge integer": (CURRENT.replace("1560", "9" * 5000), "too many digits"),
    "twice": (CURRENT.replace('"order": 1', '"order": 1, "order": 2'), "'order' is given twice"),
    "twice inside": (CURRENT.replace('"cfg": 4.5', '"cfg": 4.5, "cfg": 1'), "'cfg' is given twice"),
    "other format": (changed(format="workflow"), "format must be 'synccache-plan'"),
    "no format": (changed(format=...), "format must be"),
    "no version": (changed(version=...), "version must be a whole number in 1"),
    "newer": (changed(version=VERSION + 1), f"version {VERSION + 1}, .*up to {VERSION}: please update"),
    "version of text": (changed(version="2"), "version must be a whole number"),
    "version 0": (changed(version=0), "version must be a whole number"),
    "version true": (changed(version=True), "version must be a whole number"),
    "half migrated": (changed(version=1), "version 1 lacks the field 'computed_steps'"),
}


@pytest.mark.parametrize("text, message", NOT_PLANS.values(), ids=NOT_PLANS)
def test_what_is_no_plan_is_refused(text, message):
    with pytest.raises(BadInput, match=message) as caught:
        Plan.from_json(text)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


BAD_FIELDS = [
    ({"extra": 1}, "unknown field 'extra'"),
    ({"run__extra": 1}, "run has an unknown field 'extra'"),
    ({"order": ...}, "lacks the field 'order'"),
    ({"run": ...}, "lacks the field 'run'"),
    ({"run": None}, "run must be an object, got None"),
    ({"run": [1]}, "run must be an object"),
    ({"budget": "fast"}, "budget must be an object, got 'fast'"),
    ({"adapter": ""}, "adapter must be text of 1 to 80"),
    ({"adapter": "a\nERROR: injected"}, r"adapter must be text .* got 'a\\nERROR"),
    ({"adapter": 3}, "adapter must be text"),
    ({"layout": "x" * 100}, "layout must be text"),
    ({"run__steps": 0}, "run.steps must be a whole number in 1..10000, got 0"),
    ({"run__steps": 6.0}, "run.steps must be a whole number"),
    ({"run__steps": 7}, "run.sigmas must hold 8 to 8 numbers, got 7"),
    ({"run__sigmas": []}, "run.sigmas must be a list"),
    ({"run__sigmas": 1.0}, "run.sigmas must be a list"),
    ({"run__sigmas": [1, "0.5", 0]}, r"run.sigmas\[1\] must be a number"),
    ({"run__sigmas": [1.0, 0.8, 0.9, 0.7, 0.5, 0.3, 0.0]}, "run.sigmas must fall"),
    ({"run__sigmas": [1.0] * 7}, "run.sigmas must fall"),
    ({"run__sigmas": [1.0, 0.8, 0.7, 0.6, 0.5, 0.3, -0.1]}, r"run.sigmas\[6\] must be a number in 0"),
    ({"run__evaluations": 0}, "run.evaluations must be"),
    ({"run__sampler": None}, "run.sampler must be text"),
    ({"run__cfg": True}, "run.cfg must be a number"),
    ({"run__tokens": -1}, "run.tokens must be"),
    ({"run__shift": "8"}, "run.shift must be a number .* or null"),
    ({"budget__speedup": 0.5}, "budget.speedup must be a number in 1.0..100.0 or null, got 0.5"),
    ({"budget__speedup": None}, "either speedup or computed"),
    ({"budget__computed": 3}, "either speedup or computed"),
    ({"budget__bytes": 10}, "cache_ratio or bytes"),
    ({"budget__cache_ratio": 1.5}, "budget.cache_ratio must be"),
    ({"schedule": []}, "schedule must be a list of 1 to 6"),
    ({"schedule": [1, 3]}, "schedule must rise from step 0"),
    ({"schedule": [0, 3, 3]}, "schedule must rise"),
    ({"schedule": [0, 5, 3]}, "schedule must rise"),
    ({"schedule": [0, 6]}, r"schedule\[1\] must be a whole number in 0..5, got 6"),
    ({"schedule": [0, -1]}, r"schedule\[1\] must be"),
    ({"schedule": [0, True]}, r"schedule\[1\] must be"),
    ({"schedule": [[0]]}, r"schedule\[0\] must be"),
    ({"schedule": {"0": 1}}, "schedule must be a list"),
    ({"level": "block"}, "level must be one of output, residual, got 'block'"),
    ({"level": ["output"]}, "level must be one of"),
    ({"level": "output"}, "groups must be empty at level output"),
    ({"order": 3}, "order must be a whole number in 0..2, got 3"),
    ({"order": True}, "order must be a whole number"),
    ({"correction": 1}, "correction must be true or false, got 1"),
    ({"groups": []}, "groups must be empty at level output"),
    ({"groups": [[1], [3]]}, "groups must hold the segments 1, 2"),
    ({"groups": [[2, 1]]}, "groups must hold"),
    ({"boundaries": [[1], [3]]}, "boundaries must hold the segments 1, 2"),
    ({"boundaries": [[1]]}, "boundaries must hold"),
    ({"groups": [[]]}, r"groups\[0\] must be a list"),
    ({"groups": [1]}, r"groups\[0\] must be a list"),
    ({"merge": "drop"}, "merge must be one of refresh, freeze"),
    ({"probe": "yes"}, "probe must be true or false"),
    ({"sketch": [[1.0]]}, "sketch must hold 6 rows or none"),
    ({"sketch": [[1.0]] * 5 + [[1.0, 2.0]]}, r"sketch\[5\] must hold 1 numbers as the first row does, got 2"),
    ({"sketch": [[1.0]] * 5 + ["x"]}, r"sketch\[5\] must be a list"),
    ({"sketch": [[0.0] * 17] * 6}, r"sketch\[0\] must be a list of 1 to 16"),
    ({"kind": "skip"}, "kind must be one of cache, plain, got 'skip'"),
    ({"kind": "plain"}, "a plain plan reuses nothing: level must be output"),
    ({"alpha": 1.5}, "alpha must be a number in 0.0..1.0 or null, got 1.5"),
    ({"backtest": 1}, "backtest must be true or false, got 1"),
    ({"predicted": None}, "predicted must be an object"),
    ({"predicted__error": -1}, "error must be a number in 0"),
    ({"measured": {"error": 0.1}}, "measured lacks the field 'bytes'"),
    ({"provenance__created": "yesterday"}, "provenance.created must be an ISO date, got 'yesterday'"),
    ({"provenance__recordings": -1}, "provenance.recordings must be"),
    ({"provenance__note": "x" * 3000}, "provenance.note must be text of 0 to 2000"),
]


@pytest.mark.parametrize("fields, message", BAD_FIELDS, ids=[f"{next(iter(f))}-{i}" for i, (f, _) in enumerate(BAD_FIELDS)])
def test_a_bad_field_is_refused_by_name(fields, message):
    with pytest.raises(BadInput, match=message):
        Plan.from_json(changed(**fields))


NOTED = "as in ```json here``` and ``` there"


@pytest.mark.parametrize("around", ["{}", "\n {}", "```json\n{}\n```", "Here:\n```\n{}```\nand ```more```", "```{}```"])
def test_a_note_may_hold_code_fences(plan, around):
    noted = replace(plan, provenance=replace(plan.provenance, note=NOTED))
    assert Plan.from_json(around.format(noted.to_json())) == noted
    assert Plan.from_json(around.format(plan.to_json())) == plan


def test_samplers_of_several_evaluations(plan):
    heun = RunFacts(3, (1.0, 0.7, 0.7, 0.4, 0.4, 0.0), "heun", 1.0, evaluations=2)
    assert len(replace(plan, run=heun, schedule=(0, 3)).mask) == 5
    with pytest.raises(BadInput, match="correction must be false where a step takes 2"):
        replace(plan, run=heun, schedule=(0, 3), correction=True)


def test_save_load_names(tmp_path, plan):
    folder = tmp_path / "plans"
    assert names(folder) == []
    assert save(plan, folder, "My plan-2_b.v1") == folder / "My plan-2_b.v1.json"
    save(plan, folder, "other.json")
    assert names(folder) == ["My plan-2_b.v1", "other"]
    assert load(Plan, folder, "other") == plan == load(Plan, folder, "other.json")
    (folder / "naïve.json").write_text("{}")
    assert names(folder) == ["My plan-2_b.v1", "other"]
    with pytest.raises(BadInput, match="missing.json: cannot be read"):
        load(Plan, folder, "missing")


BAD_NAMES = [
    "", " ", ".", "..", "../out", "a/b", "a\\b", "/etc/passwd", "C:plan", "C:\\plan", "nul\0", "new\nline", ".hidden",
    "dot.", "space ", " space", "x" * 81, "CON", "con.json", "nul.tar", "COM1", "lpt9.x", "AUX .x", "plän", "ｐｌａｎ",
    "p\u200blan", "a:b", "a*b", "<b>", 3, None, ".json",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_bad_names_are_refused_and_nothing_is_written(tmp_path, plan, name):
    folder = tmp_path / "inside"
    folder.mkdir()
    for action in (lambda: save(plan, folder, name), lambda: load(Plan, folder, name)):
        with pytest.raises(BadInput, match="the name") as caught:
            action()
        assert "\n" not in str(caught.value)
    assert [*folder.iterdir()] == [] and [*tmp_path.iterdir()] == [folder]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_out_of_the_folder_are_refused(tmp_path, plan):
    folder, secret = tmp_path / "plans", tmp_path / "secret.json"
    folder.mkdir()
    secret.write_text(plan.to_json())
    (folder / "link.json").symlink_to(secret)
    for action in (lambda: load(Plan, folder, "link"), lambda: save(plan, folder, "link")):
        with pytest.raises(BadInput, match="out of its folder"):
            action()
    assert secret.read_text() == plan.to_json()


def test_a_failed_write_leaves_the_old_plan(tmp_path, plan, monkeypatch):
    save(plan, tmp_path, "plan")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BadInput, match="plan.json: cannot be written: No space left"):
        save(replace(plan, order=2), tmp_path, "plan")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"] and load(Plan, tmp_path, "plan") == plan


def test_writers_of_one_name_leave_one_whole_plan(tmp_path, plan):
    plans = [replace(plan, order=order) for order in (0, 1, 2)] * 20
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda one: save(one, tmp_path, "plan"), plans)) == {tmp_path / "plan.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"] and load(Plan, tmp_path, "plan") in plans


def test_a_folder_that_cannot_be_made_is_named(tmp_path, plan):
    (tmp_path / "plans").write_text("a file where the folder should be")
    with pytest.raises(BadInput, match="plan.json: cannot be written: "):
        save(plan, tmp_path / "plans", "plan")


def test_bad_files_are_refused_with_their_name(tmp_path):
    (tmp_path / "large.json").write_bytes(b" " * (Plan.MAX_BYTES + 1))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "text.json").write_text("hello")
    for name, message in (("large", "larger than"), ("binary", "not UTF-8"), ("text", "not JSON")):
        with pytest.raises(BadInput, match=f"{name}.json: {message}"):
            load(Plan, tmp_path, name)
