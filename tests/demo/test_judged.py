"""What the wild world is judged by, on videos and curves whose answer is known."""

import argparse
from dataclasses import replace

import numpy
import pytest

from demo import acceptance, evaluate
from demo.scores import with_others
from demo.wild import judged, measures, world


@pytest.fixture(scope="module")
def rendered():
    """Frames [5, H, W, 3] in 0..1 of one person."""
    opening = numpy.abs(numpy.sin(numpy.arange(5) * 0.9)).astype(numpy.float32)[None]
    return world.perform([3], [7], opening, False).frames[0].permute(1, 2, 3, 0).numpy() / 255


@pytest.fixture(scope="module")
def look(rendered):
    return measures.look_at(rendered, 1)


def test_frechet_distance_of_gaussians_known_in_closed_form():
    """In one dimension (m1 - m2)^2 + (s1 - s2)^2; where covariances are diagonal, the sum over dimensions."""
    one, other = numpy.array([[-1.0], [1.0]]), numpy.array([[1.0], [5.0]])  # variances 2 and 8
    assert measures.frechet(one, other) == pytest.approx(9 + 2)
    square = numpy.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    assert measures.frechet(square, square * [1, 3] + [2, 0]) == pytest.approx(4 + 4 / 3 * 4)
    assert measures.frechet(square, square) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_does_not_depend_on_directions():
    drawn = numpy.random.default_rng(0).normal(size=(2, 50, 3)) * [[[1, 2, 3]], [[3, 1, 1]]]
    turn = numpy.linalg.qr(numpy.random.default_rng(1).normal(size=(3, 3)))[0]
    assert measures.frechet(*drawn) == pytest.approx(measures.frechet(*(drawn @ turn)))


def test_identity_does_not_drift_in_the_same_frames_and_drifts_with_the_colours(rendered, look):
    assert measures.drift(look, look) == measures.recast(look, look) == 0
    tinted = replace(look, colours=look.colours + [0.1, 0, 0])
    assert measures.drift(tinted, look) == pytest.approx(10 / 3)
    assert measures.drift(measures.look_at(rendered * 0.5, 1), look) > 5


def test_a_strange_portrait_drifts_more_than_another_performance():
    def filmed(seed: int, motion: int) -> measures.Look:
        frames = world.perform([seed], [motion], numpy.zeros((1, 5), numpy.float32), False).frames[0]
        return measures.look_at(frames.permute(1, 2, 3, 0).numpy() / 255, 1)

    own = filmed(3, 7)
    assert measures.drift(filmed(3, 8), own) < measures.drift(filmed(4, 8), own)


def test_patches_lie_on_face_and_clothes(look):
    found, person = dict(zip(measures.PATCHES, look.colours[0])), world.draw_person(3)
    for patch, trait in (("face", "skin"), ("clothes", "clothes")):
        seen, true = (each / each.sum() for each in (found[patch], person[trait]))
        assert numpy.abs(seen - true).max() < 0.15


def test_gradient_energy_and_flicker_by_hand():
    stripes = numpy.zeros((3, 4, 4, 3))
    stripes[:, :, ::2] = 1.0
    assert measures.sharpness(stripes) == pytest.approx(1.0) and measures.flicker(stripes) == 0
    assert measures.sharpness(stripes / 2) == pytest.approx(0.25)
    steady = numpy.arange(4.0)[:, None, None, None] / 4 + numpy.zeros((4, 2, 2, 3))
    assert measures.flicker(steady) == pytest.approx(0)
    blinking = numpy.array([0.0, 1, 0, 1])[:, None, None, None] + numpy.zeros((4, 2, 2, 3))
    assert measures.flicker(blinking) == pytest.approx(2)


def test_range_and_shaking_by_hand():
    heads = numpy.zeros((1, 4, 2))
    heads[0, :, 0], heads[0, :, 1] = [0, 2, 0, 2], [0, 1, 2, 3]
    assert measures.ranges(heads) == pytest.approx([1, numpy.sqrt(1.25)])
    assert measures.shaking(heads) == pytest.approx([4, 0])


def test_other_clips_curves():
    one, other = numpy.array([0.0, 1, 0, 1]), numpy.array([0.0, 0, 1, 1])
    assert with_others([one, other], [one, other]) == pytest.approx([0, 0])
    assert with_others([one, 1 - one], [one, one]) == pytest.approx([1, 1])
    assert with_others([one, other], [one * 0, other]) == pytest.approx([0])  # silence is followed by nobody


def clip(look: measures.Look, number: int) -> judged.Found:
    """Followed without a fault by the noises, as by the renderer; curves of different clips are uncorrelated."""
    opening = numpy.sin(2 * numpy.pi * (number + 1) * numpy.arange(33) / 33)
    mine = replace(look, mouth=opening, features=numpy.random.default_rng(number).normal(size=(33, 4)))
    near = {"noises": (18.0, 16.0), "performances": (17.0, 15.0), "half": (27.0, 25.0)}
    return judged.Found(number, opening, look, [mine] * 2, [mine] * 4, replace(mine, sharpness=look.sharpness / 2), near,
                        dict.fromkeys(world.POSE, 0.1), {})


def test_rows_name_what_is_missed(look):
    found = [clip(look, number) for number in range(2)]
    rows = [row for part in (judged.outcome_rows, judged.mouth_rows, judged.identity_rows, judged.ratio_rows,
                             judged.distance_rows) for row in part(found)]
    values = {row.figure: row for row in rows}
    assert {row.figure for row in rows if not row.met} == {
        "clips, of two noises each", "half of the steps against all, whole, PSNR in dB, mean"}
    assert values["mouth correlation with the true curve, median"].value == pytest.approx(1)
    assert values["two noises, whole picture, PSNR in dB, mean"].own == 17
    assert values["the same of rendered clips after the VAE"].value == pytest.approx(0.5)
    assert values["range of the head's x / the renderer's"].value == pytest.approx(1)
    assert values["Fréchet distance to the renderer, tracker's features"].value == pytest.approx(0, abs=1e-9)


def test_videos_are_made_once_for_the_same_weights(tmp_path):
    made = []

    def make():
        made.append(1)
        return numpy.full((1, 2, 2, 3), len(made), numpy.uint8)

    file = tmp_path / "folder" / "video.npz"
    assert judged.kept(file, 1, make, False).max() == judged.kept(file, 1, make, False).max() == 1
    assert judged.kept(file, 2, make, False).max() == 2 and judged.kept(file, 2, make, True).max() == 3


def test_each_world_has_its_own_way_to_be_sampled(capsys):
    tiny, wild = (evaluate.parse(["--world", name]) for name in ("tiny", "wild"))
    assert evaluate.parse([]).world == "tiny" and (tiny.steps, tiny.guidance, tiny.sampler) == (40, 2.0, "euler")
    assert (wild.steps, wild.guidance, wild.sampler, wild.pairs) == (40, 4.5, "uni_pc", judged.PAIRS)
    assert evaluate.parse(["--world", "wild", "--quick"]).pairs < judged.PAIRS
    assert evaluate.parse(["--world", "wild", "--quick", "--pairs", "3", "--guidance", "6"]).pairs == 3
    for wrong in (["--sampler", "uni_pc"], ["--world", "other"]):
        with pytest.raises(SystemExit):
            evaluate.parse(wrong)


def test_the_table_shows_the_renderer_beside_and_check_fails(capsys, tmp_path):
    rows = [acceptance.required("a", 0.5, ">=", 0.75, own=0.9), acceptance.Row("b", float("nan"))]
    options = argparse.Namespace(json=tmp_path / "new" / "rows.json", check=True)
    assert acceptance.finish(rows, "of two clips", options) == 1
    said = capsys.readouterr().out
    assert "renderer" in said and "0.900" in said and "missed: a is 0.500, required >= 0.75" in said
    assert '"renderer": 0.9' in options.json.read_text() and "NaN" not in options.json.read_text()
    assert acceptance.finish(rows[1:], "", argparse.Namespace(json=None, check=True)) == 0
