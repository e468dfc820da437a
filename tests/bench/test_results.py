"""docs/RESULTS.md says what docs/results says, and how the rows of benches become its table and curves."""

import json

import pytest

from bench import results
from bench.settings import Setting

DB = {"whole_db": 40.06, "human_db": 38.0, "mouth_db": 30.0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.tables.cache_clear()
    yield tmp_path
    results.tables.cache_clear()


def write(folder, name: str, title: str, rows: list[dict]) -> None:
    (folder / f"{name}.json").write_text(json.dumps({title: rows}))


def test_the_page_is_up_to_date():
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.BLOCK.search(page) and len(page.splitlines()) <= 120
    assert results.filled(page) == page, "run `python -m bench.results`"


def test_the_table_and_the_pictures_have_data():
    assert [line for line in results.lines() if not all(line)] == []
    for setting in results.DRAWN:
        assert all(set(results.online(setting, way)) == {2, 3, 4} for way in results.CURVES)


def test_every_picture_of_the_page_is_there():
    page = results.PAGE.read_text(encoding="utf-8")
    pictures = [part.split(")")[0] for part in page.split("](")[1:] if part.split(")")[0].endswith(".png")]
    assert len(pictures) == 2 and [each for each in pictures if not (results.DOCS / each).is_file()] == []


def test_a_table_of_two_benches(folder):
    wild = results.COLUMNS[-1]
    write(folder, "online-wild", wild.name, [
        {"way": "preset", "speed": 4, **DB}, {"way": "preset", "speed": 2, **DB},
        *({"way": f"even, outputs, order {n}", "speed": 4, **DB, "whole_db": db} for n, db in enumerate((30.0, 31.0)))])
    write(folder, "rivals-tiny-40", "40-cfg2-euler: every way", [{"way": "DiCache", "speed": 4, **DB},
                                                                  {"way": "DiCache", "speed": 3}])  # fmt: skip
    write(folder, "rivals-wild", f"{wild.name}: every way", [{"way": "DiCache", "speed": 3, **DB}])
    found = {line[0]: line[1:] for line in results.lines()}
    assert found["preset"] == ["", "", "", *["40.1 / 38.0 / 30.0"] * 2, ""]
    assert found["DiCache"] == ["40.1 / 38.0 / 30.0", *[""] * 4, "40.1 / 38.0 / 30.0"]
    assert found["reuse of outputs, steps even in index"][3] == "31.0 / 38.0 / 30.0"
    page = results.filled("before\n<!-- ways -->\nold\n<!-- / -->\nafter\n")
    assert "| preset |  |  |  | 40.1 / 38.0 / 30.0 | 40.1 / 38.0 / 30.0 |  |\n" in page and "old" not in page
    assert page.startswith("before\n<!-- ways -->\n| way |") and page.endswith("<!-- / -->\nafter\n")
    assert results.filled(page) == page


def test_curves_are_drawn(folder):
    write(folder, "online-tiny", "40-cfg2-euler", [{"way": "preset", "speed": s, "here": 40 / s, **DB} for s in (2, 3)])
    results.draw(Setting(), folder / "curve.png")
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
