"""The wild world: portrait, motion and sound do not know of each other, and the truth agrees with the pictures."""

import argparse
import shutil

import numpy
import pytest
import torch

from demo.scores import correlation
from demo.training.muon import change_of, stacked_changes
from demo.wild import seen, train, train_dit, world
from demo.wild.held_out import performance
from demo.wild.loop import guard
from demo.wild.source import per_latent
from demo.wild.world import POSE

OPENING = numpy.abs(numpy.sin(numpy.arange(5) * 0.9)).astype(numpy.float32)[None]


def clips(seed=3, motion=7, opening=OPENING, pair=False):
    return world.perform([seed], [motion], opening, pair)


@pytest.mark.parametrize("pair", [False, True])
def test_a_clip_follows_from_its_seeds(pair):
    first, second = clips(pair=pair), clips(pair=pair)
    assert torch.equal(first.frames, second.frames) and torch.equal(first.pose, second.pose)
    assert first.frames.shape == (1, 3, 5, 96, 96) and first.masks.shape == (1, 1 + pair, 5, 96, 96)


def test_a_batch_holds_what_its_clips_are():
    together = world.perform([3, 4], [7, 8], numpy.concatenate([OPENING, OPENING]), False)
    assert (together.frames[:1].int() - clips().frames.int()).abs().max() <= 1


def test_motion_is_independent_of_person_and_sound():
    pose = clips().pose[..., 4:8]
    assert torch.equal(pose, clips(seed=9).pose[..., 4:8])
    assert torch.equal(pose, clips(opening=OPENING * 0).pose[..., 4:8])
    assert not torch.equal(pose, clips(motion=8).pose[..., 4:8])


@pytest.mark.parametrize("pair", [False, True])
def test_noise_decides_the_outcome(pair):
    first, second = (clips(motion=motion, pair=pair).frames.float() / 255 for motion in (7, 8))
    assert -10 * torch.log10((first - second).square().mean()) < 19


def test_mask_covers_the_head():
    made = clips()
    x, y = ((made.pose[0, 0, :, POSE.index(name)] + 1) * 48 for name in ("x", "y"))
    for frame in range(5):
        assert made.masks[0, 0, frame, int(y[frame]), int(x[frame])] > 200


def test_only_the_mouth_shows_the_sound():
    loud, silent = clips(opening=OPENING * 0 + 0.9), clips(opening=OPENING * 0)
    changed = (loud.frames.int() - silent.frames.int()).abs().amax(1)[0] > 40
    for frame, (top, bottom, left, right) in enumerate(loud.mouth_boxes(0, 0)):
        inside = changed[frame, top:bottom, left:right].sum()
        assert inside > 8 and inside >= 0.9 * changed[frame].sum()


def test_two_people_take_turns():
    speech = numpy.concatenate([numpy.full(10, 0.5), numpy.zeros(8), numpy.full(10, 0.5)])
    both = world.turns(speech, 1)
    assert both[1, :10].min() > 0 and both[0, 18:].min() > 0
    assert (both.min(0) == 0).all()


def test_mouth_cells_per_latent():
    cells = torch.zeros(1, 5, 12, 12, dtype=torch.bool)
    cells[0, 3, 4, 4] = True
    assert per_latent(cells)[0, :, 4, 4].tolist() == [False, True]


def test_portrait_is_still():
    first, again = world.portraits([3], False), world.portraits([3], False)
    assert torch.equal(first, again) and first.shape == (1, 3, 96, 96)


def test_stacked_updates_equal_single_ones():
    matrices = [torch.randn(8, 5), torch.randn(8, 5), torch.randn(4, 9)]
    for stacked, matrix in zip(stacked_changes(matrices), matrices):
        assert torch.allclose(stacked, change_of(matrix), atol=1e-5)


def parameters_with(grads):
    made = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for parameter, grad in zip(made, grads):
        parameter.grad = grad.clone()
    return made


@pytest.mark.parametrize("size", [0.01, 10.0])
def test_guard_clips_as_torch_does(size):
    grads = [torch.randn(4, 3) * size, torch.randn(5) * size, torch.randn(2, 3, 3, 3).to(memory_format=torch.channels_last)]
    ours, theirs = parameters_with(grads), parameters_with(grads)
    guard(ours)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    for mine, other in zip(ours, theirs):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-4) and mine.grad.stride() == mine.stride()


def test_guard_drops_what_is_not_finite():
    broken = parameters_with([torch.ones(3), torch.tensor([1.0, torch.inf])])
    guard(broken)
    assert all(parameter.grad.eq(0).all() for parameter in broken)


def test_phases_share_what_is_left_of_the_budget():
    chosen = dict(train.phase(text) for text in ("dit", "world=10", "latents=40", "sheet=20"))
    assert train.ends(chosen, 100) == {"world": 10, "latents": 50, "dit": 80, "sheet": 100}
    assert train.ends({name: None for name in train.SHARES}, 200)["sheet"] == pytest.approx(200)
    with pytest.raises(argparse.ArgumentTypeError):
        train.phase("nothing")


def test_every_past_is_as_long_and_ends_with_the_newest():
    for start in range(1, 10):
        video = torch.arange(18.0).view(1, 1, -1, 1, 1).expand(2, 16, 18, 2, 2)
        past = train_dit.past_of(video, start)
        assert past.shape == (2, 16, 19, 2, 2) and abs(past[:, :, -1].mean() - (start - 1)) < 0.1


def as_video(made):
    return made.frames[0].permute(1, 2, 3, 0).numpy() / 255


@pytest.mark.parametrize("pair", [False, True])
def test_regions_are_found_in_the_pictures(pair):
    made = clips(pair=pair)
    found, truth = seen.regions(as_video(made)), (made.masks[0].amax(0) > 127).numpy()
    assert (found["human"] & truth).sum() > 0.7 * (found["human"] | truth).sum()
    inside = [found["mouth"][frame, top:bottom, left:right].mean() for who in range(1 + pair)
              for frame, (top, bottom, left, right) in enumerate(made.mouth_boxes(0, who))]
    assert numpy.mean(inside) > 0.6


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_a_held_out_performance():
    made = performance(0)
    assert made.portrait.shape == (1, 96, 96, 3) and made.audio_embed.shape == (1, 25, 96, 36)
    assert correlation(seen.mouth_curve(as_video(made.rendered())), made.opening) > 0.8
    assert not torch.equal(made.rendered().frames, made.rendered(1).frames)
    assert performance(0, 3).opening.shape == (105,)
