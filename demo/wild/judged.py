"""What is asked of the Wild Talker, and what it gives: `python -m demo.evaluate --world wild`.

Held-out clips, each sampled twice from two noises under the same portrait, sound and prompt, and once with half of the
steps. The renderer performs the same casts and sounds several times, too, with other motion seeds: what two of its own
clips have in common is printed beside the model's figures, as what could be reached. Regions follow the people of both
videos that are compared. Videos are kept in --folder with the weights that made them and taken up again; everything else
is measured anew. Needs espeak-ng, no ComfyUI.

Identity drift: see `measures.drift`. The measuring net's errors are stated, on the renderer's clips. That videos show one
face with two eyes and a mouth has to be seen: pairs.png (renderer, both noises, half of the steps), and the videos.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy
import torch

from synccache_core.compare.lips import correlation

from ..acceptance import Row, required
from ..console import bar
from ..media import strip, to_bytes, write_video
from ..sampling import integrate, seeded_noise, simple_sigmas
from ..scene import Settings
from ..scores import psnr, with_others
from ..stage import stage
from ..standalone import LATENT
from ..talker import FPS
from ..worlds import WORLDS
from . import measures
from .measures import TRACKS, Look
from .world import POSE

PAIRS, FEW = 16, 4
SEED_STEP = 1000  # the k-th noise of a clip has the seed clip + 1000 k; so has its k-th rendered performance
NOISES, PERFORMANCES = 2, 4  # of the performances the first two stand beside the noises
SHEET = 8
FOLDER = Path.home() / ".cache" / "synccache" / "wild_videos"


@dataclass(frozen=True)
class Job:
    """One clip, and how it is sampled."""

    number: int
    steps: int
    guidance: float
    sampler: str
    shift: float
    folder: Path
    fresh: bool = False

    @property
    def name(self) -> str:
        return f"cfg{self.guidance:g}-{self.sampler}-shift{self.shift:g}-{self.number}"


@dataclass(frozen=True)
class Found:
    """What one clip gave. opening [F]: true. made, rendered: a Look for every noise and performance; restored: of the first
    performance after the VAE. apart: PSNR in dB of (whole, people) between two noises, two performances, and half and all
    of the steps. errors: of the measuring net, by POSE. pictures: uint8 [F, H, W, 3]."""

    number: int
    opening: numpy.ndarray
    portrait: Look
    made: list[Look]
    rendered: list[Look]
    restored: Look
    apart: dict[str, tuple[float, float]]
    errors: dict[str, float]
    pictures: dict[str, numpy.ndarray]


def kept(file: Path, of: int, make: Callable[[], numpy.ndarray], fresh: bool) -> numpy.ndarray:
    """uint8 frames [F, H, W, 3] of a file; made where it is not there, or was made of something else."""
    if file.is_file() and not fresh:
        with numpy.load(file) as found:
            if int(found["of"]) == of:
                return found["frames"]
    frames = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    with (partial := file.with_suffix(f".{os.getpid()}")).open("wb") as whole:
        numpy.savez_compressed(whole, of=of, frames=frames)
    partial.replace(file)
    return frames


def sampled(job: Job, seed: int, steps: int) -> numpy.ndarray:
    """The video of one noise, uint8 [F, H, W, 3]."""
    @torch.inference_mode()
    def make() -> numpy.ndarray:
        on = stage(job.number, Settings(guidance=job.guidance), "wild")
        sigmas, noise = simple_sigmas(steps, job.shift), seeded_noise(LATENT, seed)
        return to_bytes(on.decode(integrate(job.sampler, noise, sigmas, lambda x, sigma: on.guided(x, sigma, None))))

    clip = WORLDS["wild"].scene(job.number)
    of = crc32(clip.sound.numpy().tobytes(), crc32(clip.portrait.numpy().tobytes(), WORLDS["wild"].weights))
    return kept(job.folder / f"{job.name}-{steps}steps-noise{seed}.npz", of, make, job.fresh)


def restored(job: Job, video: numpy.ndarray) -> numpy.ndarray:
    """A video [F, H, W, 3] in 0..1 after the VAE, uint8."""
    @torch.inference_mode()
    def make() -> numpy.ndarray:
        on = stage(job.number, Settings(guidance=job.guidance), "wild")
        pixels = torch.from_numpy(video).float().movedim(-1, 0)[None] * 2 - 1
        return to_bytes(on.decode(on.talker.encode(pixels)))

    of = crc32(to_bytes(video).tobytes(), WORLDS["wild"].weights)
    return kept(job.folder / f"restored-{job.number}.npz", of, make, job.fresh)


def apart(videos: Sequence[numpy.ndarray], looks: Sequence[Look]) -> tuple[float, float]:
    """PSNR in dB between two videos: of whole pictures, and where people are in either."""
    people = looks[0].human | looks[1].human
    return psnr(*videos, numpy.ones_like(people)), psnr(*videos, people)


def errors(look: Look, pose: torch.Tensor) -> dict[str, float]:
    """Root mean square errors of the measuring net on a rendered video, whose poses [K, F, len(POSE)] are known."""
    return dict(zip(POSE, numpy.sqrt(numpy.square(look.poses - pose.numpy()).mean((0, 1))).tolist()))


def measure(job: Job) -> Found:
    """Everything about one clip."""
    torch.set_num_threads(1)
    clip = WORLDS["wild"].scene(job.number)
    seeds = [job.number + SEED_STEP * noise for noise in range(NOISES)]
    made = [sampled(job, seed, job.steps) / 255 for seed in seeds]
    half = sampled(job, seeds[0], job.steps // 2) / 255
    clips = [clip.rendered(clip.seed + SEED_STEP * take) for take in range(PERFORMANCES)]
    rendered = [each.frames[0].movedim(0, -1).numpy() / 255 for each in clips]
    looks, own = ([measures.look_at(video, 1 + clip.pair) for video in videos] for videos in (made, rendered))
    pairs = {"noises": (made, looks), "performances": (rendered[:2], own[:2]),
             "half": ((half, made[0]), (measures.look_at(half, 1 + clip.pair), looks[0]))}
    wrong = [errors(look, each.pose[0]) for look, each in zip(own, clips)]
    shown = {"rendered": rendered[0], "noise 1": made[0], "noise 2": made[1], "half of the steps": half}
    return Found(job.number, clip.opening, measures.look_at(clip.portrait.numpy(), 1 + clip.pair), looks, own,
                 measures.look_at(restored(job, rendered[0]) / 255, 1 + clip.pair),
                 {name: apart(*pair) for name, pair in pairs.items()},
                 {name: float(numpy.mean([each[name] for each in wrong])) for name in POSE},
                 {name: to_bytes(video) for name, video in shown.items()})


def both(found: Sequence[Found], figure: Callable[[Found, Look], float]) -> tuple[list[float], list[float]]:
    """A figure of every sampled video, and of every rendered one beside them."""
    return ([figure(one, look) for one in found for look in one.made],
            [figure(one, look) for one in found for look in one.rendered[:NOISES]])


def compared(name: str, values: tuple[list[float], list[float]], as_one: Callable = numpy.mean, wanted: tuple = ()) -> Row:
    """A row of `both`. wanted: a sign and a bound."""
    value, own = (float(as_one(each)) if each else numpy.nan for each in values)
    return required(name, value, *wanted, own=own) if wanted else Row(name, value, own=own)


def outcome_rows(found: Sequence[Found]) -> list[Row]:
    """How much the noise decides, and how much the second half of the steps."""
    mean = {name: numpy.mean([one.apart[name] for one in found], 0) for name in found[0].apart}
    noises, own, half = (mean[name] for name in ("noises", "performances", "half"))
    return [
        required("clips, of two noises each", len(found), ">=", PAIRS),
        required("two noises, whole picture, PSNR in dB, mean", noises[0], "<=", 19, own[0]),
        required("two noises, people of either, PSNR in dB, mean", noises[1], "<=", 17, own[1]),
        required("half of the steps against all, whole, PSNR in dB, mean", half[0], "<=", 26),
        Row("half of the steps against all, people, PSNR in dB, mean", float(half[1])),
    ]


def mouth_rows(found: Sequence[Found]) -> list[Row]:
    """Whether mouths follow what is said, and how well the net that says so sees."""
    follows = both(found, lambda one, look: correlation(look.mouth, one.opening))
    true = [one.opening for one in found]
    others = tuple([r for take in range(NOISES) for r in with_others([looks[take].mouth for looks in kind], true)]
                   for kind in ([one.made for one in found], [one.rendered for one in found]))
    return [
        compared("mouth correlation with the true curve, median", follows, numpy.median, (">=", 0.75)),
        compared("mouth correlation with the true curve, 10th percentile", follows, lambda r: numpy.quantile(r, 0.1)),
        compared("mouth correlation with other clips' curves, median |r|", others, numpy.median, ("<=", 0.25)),
        *(Row(f"the tracker's error on rendered clips, {name}, RMS", float(numpy.mean([one.errors[name] for one in found])))
          for name in ("opening", *TRACKS)),
    ]


def identity_rows(found: Sequence[Found]) -> list[Row]:
    """Whether videos show who is in the portrait: what light and turns cost is in the renderer's figures."""
    faces = {one.number: one.portrait for one in found}
    strangers = {one.number: next((other.portrait for other in (*found[place + 1 :], *found[:place])
                                   if len(other.portrait.traits) == len(one.portrait.traits)), None)
                 for place, one in enumerate(found)}
    colours, casts = (both(found, lambda one, look, of=of: of(look, faces[one.number]))
                      for of in (measures.drift, measures.recast))
    paired = [one for one in found if strangers[one.number]]
    others = both(paired, lambda one, look: measures.drift(look, strangers[one.number]))
    return [
        compared("identity drift from the portrait, % of full scale, mean", colours, numpy.mean, ("<", 5)),
        compared("identity drift from the portrait, 90th percentile", colours, lambda each: numpy.quantile(each, 0.9)),
        compared("identity drift from another clip's portrait, mean", others),
        compared("drift of the cast as the tracker reads it, %, mean", casts),
        compared("frames with as many people as there should be, %", both(found, lambda _, look: 100 * look.crowd)),
    ]


def ratio_rows(found: Sequence[Found]) -> list[Row]:
    """Pictures and motion over the renderer's first performances; beside it the renderer's others over those."""
    def ratio(name: str, figure: Callable[[Look], float]) -> Row:
        made, first, others = (numpy.mean([figure(look) for one in found for look in looks(one)]) for looks in (
            lambda one: one.made, lambda one: one.rendered[:NOISES], lambda one: one.rendered[NOISES:]))
        return Row(f"{name} / the renderer's", float(made / first), own=float(others / first))

    before, after = (numpy.mean([look.sharpness for look in looks])
                     for looks in ([one.rendered[0] for one in found], [one.restored for one in found]))
    return [
        ratio("sharpness (gradient energy)", lambda look: look.sharpness),
        Row("the same of rendered clips after the VAE", float(after / before)),
        ratio("flicker (second differences in time)", lambda look: look.flicker),
        *(ratio(f"range of the head's {name}", lambda look, place=place: measures.ranges(look.heads)[place])
          for place, name in enumerate(TRACKS)),
        *(ratio(f"shaking of the head's {name}", lambda look, place=place: measures.shaking(look.heads)[place])
          for place, name in enumerate(TRACKS)),
    ]


def distance_rows(found: Sequence[Found]) -> list[Row]:
    """Fréchet distances; the renderer's own is of as many other performances of the same casts and sounds."""
    def features(looks: Callable[[Found], Sequence[Look]]) -> numpy.ndarray:
        return numpy.concatenate([look.features for one in found for look in looks(one)])

    first = features(lambda one: one.rendered[:NOISES])
    made, others = features(lambda one: one.made), features(lambda one: one.rendered[NOISES:])
    after = measures.frechet(features(lambda one: [one.restored]), features(lambda one: one.rendered[:1]))
    return [Row("Fréchet distance to the renderer, tracker's features", measures.frechet(made, first),
                own=measures.frechet(others, first)),
            Row("the same of rendered clips after the VAE, to before it", after)]


def write_pictures(folder: Path, found: Sequence[Found]) -> None:
    """pairs.png, and the renderer beside each noise: noise1.mp4, noise2.mp4."""
    folder.mkdir(parents=True, exist_ok=True)
    some = [{name: video / 255 for name, video in one.pictures.items()} for one in found[:SHEET]]
    strip({f"{one.number}: {name}": video for one, videos in zip(found, some) for name, video in videos.items()},
          count=10).save(folder / "pairs.png")
    for name in ("noise 1", "noise 2"):
        rows = [numpy.concatenate([videos[kind] for videos in some[:4]], axis=2) for kind in ("rendered", name)]
        write_video(folder / f"{name.replace(' ', '')}.mp4", numpy.concatenate(rows, axis=1), FPS)


def wild(options: argparse.Namespace) -> tuple[list[Row], str]:
    """Rows, and what they are of."""
    jobs = [Job(number, options.steps, options.guidance, options.sampler, options.shift, options.folder, options.fresh)
            for number in range(options.pairs)]
    with multiprocessing.get_context("spawn").Pool(min(os.cpu_count() or 1, len(jobs))) as pool:
        found = list(bar(pool.imap(measure, jobs), "wild", "clip", total=len(jobs)))
    rows = [row for part in (outcome_rows, mouth_rows, identity_rows, ratio_rows, distance_rows) for row in part(found)]
    write_pictures(options.output, found)
    return rows, (f"{options.pairs} held-out clips, two noises each, {options.steps} {options.sampler} steps, guidance "
                  f"{options.guidance:g}, shift {options.shift:g}; renderer: the same figure of its own clips; pictures in "
                  f"{options.output}")
