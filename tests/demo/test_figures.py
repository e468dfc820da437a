"""What evaluation measures, on clips whose answer is known."""

import numpy
import pytest

from demo import evaluate, figures
from demo.portraits import HELD_OUT_SEED, render_clip
from demo.scores import ssim

CURVE = numpy.clip(numpy.sin(numpy.arange(33) * 1.1) + 0.2 * numpy.cos(numpy.arange(33) * 2.7), 0, 1)


@pytest.mark.parametrize("late", [-3, -1, 0, 2])
def test_lag_is_found_with_its_sign(late):
    assert figures.best_lag(numpy.roll(CURVE, late), CURVE) == late


def test_mouth_of_a_rendered_clip_is_its_curve():
    clip = render_clip(HELD_OUT_SEED, CURVE)
    assert figures.correlation(figures.mouth_of(clip.frames), CURVE) > 0.95


def still_and_moving() -> tuple[int, int]:
    kinds = {render_clip(seed, CURVE[:2]).backdrop: seed for seed in range(40)}
    return kinds["still"], kinds["moving"]


def test_flicker_is_one_for_the_renderer_itself_grows_with_noise_and_needs_a_still_backdrop():
    still, moving = still_and_moving()
    clip = render_clip(still, CURVE)
    mask = (clip.human_mask * 255).astype("uint8")
    assert figures.flicker_ratio(still, clip.frames, clip.frames, mask) == 1
    noise = numpy.random.default_rng(0).normal(0, 3 / 255, clip.frames.shape)
    assert 2 < figures.flicker_ratio(still, clip.frames + noise, clip.frames, mask) < 3
    assert figures.flicker_ratio(moving, clip.frames, clip.frames, mask) is None


def test_identity_patches_see_the_colour_of_skin_hair_and_clothes():
    seed = next(seed for seed in range(40) if figures.draw_person(seed).style == "short")
    clip, person = render_clip(seed, CURVE * 0), figures.draw_person(seed)
    skin, hair, clothes = figures.patch_colours(seed, clip.frames)
    assert numpy.abs(skin / skin.sum() - person.skin / person.skin.sum()).max() < 0.06
    assert numpy.abs(hair - person.hair).mean() < 0.2
    bald = next(seed for seed in range(80) if figures.draw_person(seed).style == "bald")
    assert len(figures.patch_colours(bald, clip.frames)) == 2
    half = numpy.concatenate([clip.frames[:16], clip.frames[16:] * 0.9])
    assert numpy.abs(figures.patch_colours(seed, half[:16]) - figures.patch_colours(seed, half[16:])).max() > 0.01


def test_ssim_is_one_for_equal_frames_and_falls_with_noise():
    clip = render_clip(3, CURVE[:3])
    noisy = clip.frames + numpy.random.default_rng(0).normal(0, 0.1, clip.frames.shape)
    assert ssim(clip.frames, clip.frames).min() > 0.999
    assert ssim(clip.frames, noisy).mean() < 0.6 and ssim(clip.frames, noisy).shape == (3, 96, 96)


def test_required_compares_as_it_says_and_nothing_unmeasured_passes():
    assert evaluate.required("a", 0.85, ">=", 0.85).met and not evaluate.required("a", 0.84, ">=", 0.85).met
    assert evaluate.required("a", 1.5, "<=", 1.5).met and not evaluate.required("a", 3.0, "<", 3).met
    assert not evaluate.required("a", float("nan"), ">=", 0.0).met and not evaluate.required("a", float("nan"), "<=", 1).met


def test_check_names_what_is_missed(monkeypatch, capsys, tmp_path):
    found = [{"kind": "clip", "seed": HELD_OUT_SEED + i, "frames": numpy.zeros((33, 96, 96, 3)),
              "truth": numpy.zeros((33, 96, 96, 3)), "opening": CURVE, "mouth": numpy.roll(CURVE, i), "correlation": 0.9,
              "rendered_correlation": 0.99, "lag_frames": 0, "movement_without_sound": 0.0, "vae_psnr_db": 28.0,
              "human_ssim": 0.9, "vae_human_ssim": 0.95, "flicker_ratio": None if i else 1.0} for i in range(2)]
    monkeypatch.setattr(evaluate, "play_all", lambda *options: found)
    monkeypatch.setattr(evaluate, "seconds_for_one_clip", lambda sampling: 12.0)
    monkeypatch.setattr(evaluate, "write_pictures", lambda *options: None)
    written = tmp_path / "rows.json"
    assert evaluate.main(["--clips", "2", "--chains", "0", "--check", "--json", str(written)]) == 1
    said = capsys.readouterr().out
    assert "missed: VAE round trip in dB, mean is 28.000, required >= 30" in said and "human SSIM" in written.read_text()
    assert said.count("missed: ") == len([line for line in said.splitlines() if line.startswith("missed: ")])
