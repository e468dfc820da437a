"""bench.scale without a GPU: sizes, counts against the research table, the count of bytes, the code that measures."""

import json

import pytest
import torch

from bench import scale
from bench.peaks import Counted
from bench.scale import in_order, kernel_rows, without_data
from bench.scale_model import HERE, PINNED, TOY, Shape, Size, predicted, rounded
from bench.scale_run import Bench
from synccache_core.model.adapters import wan_s2v

LARGE, SMALL = Size(1280, 720, 77), Size(832, 480, 77)


@pytest.fixture
def hostless(monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", "none")


@pytest.fixture(scope="module")
def true_size():
    """The model with 14 billion parameters, of which there is nothing but shapes."""
    with pytest.MonkeyPatch.context() as patch, without_data():
        patch.setenv("COMFYUI_PATH", "none")
        return scale.build(Shape(), "cuda")[0]


@pytest.mark.parametrize(("size", "latent", "tokens"), [(SMALL, (20, 60, 104), 32760), (LARGE, (20, 90, 160), 75600)])
def test_a_size_in_tokens(size, latent, tokens):
    assert Size.parse(str(size)) == size and size.latent == latent and size.tokens == tokens


@pytest.mark.parametrize("text", ["832x480", "830x480x77", "832x480x76", "wide", "0x480x77", "832x480x-3"])
def test_sizes_that_cannot_be(text):
    with pytest.raises(ValueError):
        Size.parse(text)


@pytest.mark.parametrize(
    ("size", "block", "refresh", "total", "light", "reused", "residual"),
    # TFLOP of one block, one injector, one call; percent of a call that is not blocks, that is left at reuse; MiB
    [(SMALL, 41.96, 3.287, 1717.9, 2.30, 4.7, 304.7), (LARGE, 163.08, 7.570, 6614.3, 1.38, 3.8, 703.1)],
)
def test_operations_of_the_true_model(true_size, size, block, refresh, total, light, reused, residual):
    row = scale.operations(Shape(), size, wan_s2v.cost(true_size, size.grid, size.tokens))
    assert row["block_tflop"] == pytest.approx(block, rel=1e-3)
    assert row["injector_tflop"] == pytest.approx(refresh, rel=1e-3)
    assert row["call_tflop"] == pytest.approx(total, rel=1e-3)
    assert row["light_percent"] == pytest.approx(light, rel=0.01)
    assert row["reused_percent"] == pytest.approx(reused, abs=0.06)
    assert row["residual_mib"] == pytest.approx(residual, abs=0.1)


def test_weights_by_formula(true_size):
    counted = sum(weight.numel() * weight.element_size() for weight in true_size.parameters())
    assert Shape().weight_bytes == pytest.approx(counted, rel=5e-3)
    assert wan_s2v.layout(true_size) == Shape().layout


def test_as_deep_as_memory_allows():
    assert Shape().fitted(SMALL, 141 << 30) == Shape()
    depths = [Shape().fitted(LARGE, free << 30).blocks for free in (79, 60, 48, 24)]
    assert depths == sorted(depths, reverse=True) and depths[0] == 40 and depths[-1] < depths[1] < 40


def test_other_widths_keep_the_heads_as_wide():
    made = Shape().scaled(2560, 8)
    assert (made.dim, made.heads, made.ffn, made.blocks, made.injected) == (2560, 20, 6912, 8, [0, 4])
    with pytest.raises(ValueError, match="multiple of 128"):
        Shape().scaled(2500, None)


def test_predicted_bytes_by_hand():
    residual, sketch = 31200 * 5120 * 2, 31200 * 128 * 2
    assert predicted(Shape(), SMALL, 1.0, False, HERE) == (44 * residual, 44 * residual + 2 * sketch)
    assert predicted(Shape(), SMALL, 1 / 12, True, PINNED) == (4 * residual, 2 * residual + 2 * sketch)
    assert rounded(Shape(), SMALL, 44 * residual) == 44 * 320 << 20  # 305 MiB are 256 and 49, taken up to 64


def test_bytes_are_counted_once_and_until_they_go():
    before = torch.zeros(1000)
    with Counted([before]) as count:
        held = before.view(10, 100) + 1
        again = held.t()
        del held, again
        kept = before * 2  # noqa: F841 - alive until the end
        (before + 1).add_(1)
    assert count.most["cpu"] == 8000


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    """(exit status, tables) of the code that measures, on the CPU."""
    path = tmp_path_factory.mktemp("scale") / "toy.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFYUI_PATH", "none")
        status = scale.main(["--device", "cpu", "--toy", "--quick", "--check", "--blocks", "9", "--json", str(path)])
    return status, json.loads(path.read_text())


def test_the_code_that_measures_runs_on_a_toy(toy_run):
    status, tables = toy_run
    seconds = next(rows for title, rows in tables.items() if title.startswith("seconds"))
    assert status == 0 and "note" not in seconds[0]
    names = ("plain_seconds", "reused_seconds", "live_seconds", "probe_seconds", "injectors_seconds", "measured_over_ideal")
    assert all(seconds[0][name] > 0 for name in names)
    assert 0 < seconds[0]["live_rows"] < seconds[0]["live_counted"] < 1  # keys and values are made of all rows
    assert "CPU" in tables["machine"][0]["machine"] and "nothing about the real model" in tables["remark"][0]["remark"]


def test_counted_memory_is_what_was_predicted(toy_run):
    rows = next(rows for title, rows in toy_run[1].items() if title.startswith("bytes"))
    assert [row["residuals"] for row in rows] == [2, 1]
    for row in rows:
        assert abs(row["over_predicted_percent"]) < 2, row


def test_kernels_of_a_block(toy_run):
    rows = list(kernel_rows(TOY, Size(96, 96, 33), "cpu"))
    assert [row["kernel"].split(", ")[0] for row in rows] == ["attention"] * 3 + ["feed-forward in"] * 2
    assert rows[0]["milliseconds"] > 0 and "note" in rows[1]  # no cuDNN on a CPU
    assert any(title.startswith("kernels") for title in toy_run[1])


@pytest.fixture
def bench(hostless):
    model, source = scale.build(TOY, "cpu")
    scale.fill(model)
    return Bench(scale.Stand(model, source, TOY, Size(96, 96, 33), "cpu"), "counted")


def test_what_tells_most_comes_first(bench):
    found = [(place, ratio) for _, place, ratio in in_order([bench], (HERE, PINNED), (1.0, 0.5))]
    assert found == [(HERE, 1.0), (HERE, None), (PINNED, 1.0), (PINNED, None), (HERE, 0.5), (PINNED, 0.5)]
    alone = bench.takes(HERE, None)
    assert "note" not in bench.row(HERE, 1.0) and HERE in bench.filled
    assert bench.takes(HERE, None) < alone - bench.takes(HERE, 1.0) / 2  # the memory is there


def test_what_takes_too_long_is_left_out_and_says_so(bench):
    row = bench.row(HERE, None, left=0.01)
    assert row["note"].startswith("left out: takes about") and "plain_seconds" not in row
    assert "note" not in bench.row(HERE, None, left=1000.0)


def test_a_row_is_told_as_soon_as_it_is_there(tmp_path, capsys):
    sheet = scale.Sheet(tmp_path / "rows.json", {"machine": []})
    for number in range(1, 3):
        sheet.add("seconds", {"plain_seconds": 1.5 * number, "nothing": None})
        assert capsys.readouterr().out == f"plain_seconds {1.5 * number:g}\n"
        assert len(json.loads((tmp_path / "rows.json").read_text())["seconds"]) == number


def test_without_a_gpu_nothing_is_called_measured(hostless, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert scale.main(["--quick", "--blocks", "2", "--json", str(tmp_path / "none.json")]) == 0
    said = capsys.readouterr().out
    assert "nothing here was measured" in said
    assert not any("measured_" in key for rows in json.loads((tmp_path / "none.json").read_text()).values()
                   for row in rows for key in row)  # fmt: skip


def test_what_falls_short_is_said():
    good = {"size": "s", "guidance": "apart", "cache_at": HERE, "cache_ratio": 1.0, "measured_over_ideal": 0.96,
            "off_overhead_percent": 0.2, "over_predicted_percent": 1.0, "over_cache_percent": 1.5}  # fmt: skip
    assert list(scale.missed({"t": [good], "machine": [{}]}, on_gpu=True)) == []
    bad = good | {"measured_over_ideal": 0.9, "off_overhead_percent": 0.6, "over_predicted_percent": 3.0,
                  "over_cache_percent": 4.0, "note": "out of memory"}  # fmt: skip
    assert len(list(scale.missed({"t": [bad]}, on_gpu=True))) == 5
    assert len(list(scale.missed({"t": [bad]}, on_gpu=False))) == 3
    assert len(list(scale.missed({"t": [bad]}, on_gpu=False, toy=True))) == 2


def test_the_true_size_is_not_tried_on_a_cpu(capsys):
    with pytest.raises(SystemExit):
        scale.main(["--device", "cpu"])
    assert "needs --toy" in capsys.readouterr().err and TOY.weight_bytes < 1 << 24
