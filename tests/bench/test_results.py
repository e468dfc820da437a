"""docs/RESULTS.md says what docs/results says, and how a table of a bench becomes one of the page."""

import json

import pytest

from bench import results
from bench.settings import Setting


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.tables.cache_clear()
    yield tmp_path
    results.tables.cache_clear()


def test_the_page_is_up_to_date():
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.BLOCK.search(page)
    assert results.filled(page) == page, "run `python -m bench.results`"


def test_every_picture_of_the_page_is_there():
    page = results.PAGE.read_text(encoding="utf-8")
    pictures = [part.split(")")[0] for part in page.split("](")[1:] if part.split(")")[0].endswith(".png")]
    assert pictures and [each for each in pictures if not (results.DOCS / each).is_file()] == []


def test_a_table_of_markdown():
    first = {"way": "a|b", "gain_db": 1.25, "gain_low_db": -0.04, "gain_high_db": 2.0, "steps": 10, "share": 0.123456}
    made = [first, {"way": "c"}]
    found = results.markdown(made, {"way": "way", "gain": results.spread("gain_db"), "n": "steps", "share": "share"})
    assert found.splitlines() == [
        "| way | gain | n | share |",
        "| --- | ---: | ---: | ---: |",
        "| a\\|b | 1.2 (0.0 to 2.0) | 10 | 0.1235 |",
        "| c |  |  |  |",
    ]


def test_blocks_are_filled_in_place(folder):
    (folder / "memory.json").write_text(json.dumps({"one run after the other": [{"runs": 50, "tensors_last": 7}]}))
    first, last = "before\n<!-- memory: one run -->\n", "<!-- / -->\nafter\n"
    filled = results.filled(f"{first}old\n{last}")
    assert filled == f"{first}| runs | tensors last |\n| --- | ---: |\n| 50 | 7 |\n{last}"
    assert results.filled(filled) == filled


def test_a_table_that_is_not_there_is_named(folder):
    (folder / "memory.json").write_text(json.dumps({"every size": []}))
    with pytest.raises(KeyError, match="memory.json has no table 'none', it has every size"):
        results.filled("<!-- memory: none -->\n<!-- / -->\n")


def test_the_best_way_of_a_cost_comes_first(folder):
    setting = Setting()
    found = (("a", 10, 60.0), ("b", 10, 70.0), ("c", 8, 80.0))
    ways = [{"way": name, "at_cost_of_steps": cost, "human_db": db} for name, cost, db in found]
    (folder / f"{setting.name}.json").write_text(json.dumps({f"{setting.name}: every way": ways}))
    assert [row["way"] for row in results.at_cost(setting.name, "every way", 10)] == ["b", "a"]


def test_curves_are_drawn(folder):
    setting = Setting()
    ways = [{"way": "planned", "cost_full_steps": c, "cost_full_steps_14b": c, "human_db": 60 + c} for c in (10.0, 8.0)]
    (folder / f"{setting.name}.json").write_text(json.dumps({f"{setting.name}: every way": ways}))
    results.draw(setting, folder / "curve.png")
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
