"""Chunks that continue each other, plain and through one SyncCache node: do face, colours and lips stay?

`python -m bench.long [--people N] [--chunks N] [--steps N] [--guidance X] [--sampler NAME] [--quick] [--json FILE]
[--check]`.

In ComfyUI, with the stock nodes of the templates for long videos: WanSoundImageToVideo, then WanSoundImageToVideoExtend
again and again. The Tiny Talker, people and speech that training never saw. Every chunk is a sampling run of its own, so
nothing but the schedule, or the plan, goes from one to the next. The plan is calibrated on the first chunk of the person
before.
Needs ComfyUI and espeak-ng; half a minute a person and chunk on one core. Evidence about the mechanism, never about a real
model's quality.
"""

import argparse
import sys
from collections.abc import Iterable
from functools import partial

import numpy as np
import torch

from demo.console import say
from demo.features import mouth_opening_curve, window
from demo.figures import change, mouth_of, patch_colours
from demo.find_host import find_host
from demo.portraits import HELD_OUT_SEED, render_portrait
from demo.scene import Scene, Settings, make_scene
from demo.scores import psnr
from demo.speech import speech
from demo.talker import AUDIO_FRAMES, FPS, FRAMES, LATENT_FRAMES
from synccache_core.compare.lips import best_lag, correlation

from .harness import MOST_DB, finish, on_all_cores, parser
from .settings import SHIFT

PEOPLE, CHUNKS, LEAST_CHUNKS = 4, 6, 5
FIRST = 300  # held-out people of this bench
SPEED = 3.0
WAYS = {
    "plain": None,
    "Balanced": {"preset": "Balanced"},
    "Balanced, residuals": {"preset": "Balanced", "reuse": "residuals"},
    "plan, 3x": {"preset": "Balanced", "plan_json": None},  # filled in once it is made
}
LEAST_SYNC, LOST_SYNC, MOST_LAG, MOST_DRIFT, ADDED_DRIFT = 0.85, 0.02, 1, 3.0, 0.5


def long_scene(number: int, chunks: int) -> Scene:
    """A held-out person with speech that lasts for so many chunks."""
    seconds, parts, seed = chunks * AUDIO_FRAMES / FPS, [], HELD_OUT_SEED + 50 * number
    rate = speech(seed)[1]
    while sum(len(part) for part in parts) < seconds * rate:
        parts.append(speech(seed + len(parts))[0][0].numpy())
    return make_scene(render_portrait(HELD_OUT_SEED + number), np.concatenate(parts)[: int(seconds * rate) + 1], rate)


class Chain:
    """The stock nodes for one person. model: MODEL that every chunk is sampled with."""

    def __init__(self, scene: Scene, options: argparse.Namespace):
        from demo.comfy_graph import Comfy  # opens ComfyUI

        self.options = options
        self.comfy = Comfy(find_host(), scene, Settings(options.steps, options.guidance, SHIFT))
        audio = {"waveform": scene.sound[None, None], "sample_rate": scene.rate}
        _, _, *words, self.heard, self.face, _ = self.comfy.call(
            "SyncCacheTinyTalker", portrait=scene.portrait, audio=audio
        )
        self.words = dict(zip(("positive", "negative"), words))

    def sampled(self, model, seed: int, positive, negative, latent) -> dict:
        return self.comfy.call(
            "KSampler", model=model, seed=seed, steps=self.options.steps, cfg=self.options.guidance,
            sampler_name=self.options.sampler, scheduler="simple", positive=positive, negative=negative, latent_image=latent,
            denoise=1.0,
        )[0]  # fmt: skip

    def first(self, model) -> dict:
        return self.sampled(model, 0, *self.comfy.conditioning, self.comfy.latent)

    def whole(self, model) -> torch.Tensor:
        """Latents [1, 16, 9 * chunks, h, w]."""
        made = self.first(model)["samples"]
        for number in range(1, self.options.chunks):
            scene = self.comfy.call(
                "WanSoundImageToVideoExtend", **self.words, vae=self.comfy.vae, length=FRAMES,
                video_latent={"samples": made}, audio_encoder_output=self.heard, ref_image=self.face,
            )  # fmt: skip
            made = torch.cat([made, self.sampled(model, number, *scene)["samples"]], dim=2)
        return made

    def cached(self, settings: dict):
        """(MODEL, run) of a SyncCache node."""
        given = {"model": self.comfy.model, "target_speedup": SPEED, "cache_ratio": 1.0, **settings}
        return self.comfy.call("SyncCache", **given)

    def plan(self) -> str:
        """JSON, from a calibration of the first chunk."""
        model, run = self.comfy.call("SyncCacheCalibrate", model=self.comfy.model, target_speedup=SPEED)
        latent = self.first(model)
        return self.comfy.call("SyncCacheScheduleOptimizer", run=run, samples=latent, target_speedup=SPEED)[0]


def person(number: int, options: argparse.Namespace) -> dict[str, list[dict]]:
    """{way: figures of each chunk} of one held-out person."""
    torch.set_num_threads(1)
    scene = long_scene(FIRST + number, options.chunks)
    plan = Chain(long_scene(FIRST + (number - 1) % options.people, 1), options).plan()
    chain, found, plain = Chain(scene, options), {}, None
    opening = mouth_opening_curve(window(scene.features, 4 * LATENT_FRAMES * options.chunks)).numpy()
    for way, settings in WAYS.items():
        given = settings and {name: plan if name == "plan_json" else value for name, value in settings.items()}
        model, run = chain.cached(given) if given else (chain.comfy.model, None)
        frames = chain.comfy.decode(chain.whole(model))
        plain = frames if plain is None else plain
        found[way] = figures(FIRST + number, frames, plain, opening)
        for place, report in enumerate(run.reports if run else []):
            found[way][place]["computed"] = report.computed
    return found


def figures(number: int, frames: np.ndarray, plain: np.ndarray, opening: np.ndarray) -> list[dict]:
    """Of each chunk of frames [F, H, W, 3]. opening [F] of the sound."""
    seams = list(range(FRAMES, len(frames), 4 * LATENT_FRAMES))
    cut = partial(np.split, indices_or_sections=seams)
    everywhere = np.ones(frames.shape[1:3], bool)
    moved = [change(frames[at - 1 : at + 1], everywhere) / change(frames, everywhere) for at in seams]
    first, made = None, []
    for place, (part, true, beside) in enumerate(zip(cut(frames), cut(opening[: len(frames)]), cut(plain))):
        patches, colour, mouth = patch_colours(HELD_OUT_SEED + number, part), part.mean((0, 1, 2)), mouth_of(part)
        first = first or (patches, colour)
        made.append({
            "sync": correlation(mouth, true), "lag_frames": best_lag(mouth, true),
            "identity_percent": 100 * float(np.abs(patches - first[0]).mean(1).max()),
            "colour_percent": 100 * float(np.abs(colour - first[1]).mean()),
            "seam_ratio": moved[place - 1] if place else None,
            "psnr_db": min(MOST_DB, psnr(part, beside, np.ones(part.shape[1:3], bool))),
        })  # fmt: skip
    return made


ROWS = {  # figure: (title, over people)
    "sync": ("mouth follows the sound, correlation, median", np.median),
    "lag_frames": ("lag of the mouth in frames, largest", lambda values: max(map(abs, values))),
    "identity_percent": ("drift of skin, hair, clothes from chunk 1, % of full scale, worst person", max),
    "colour_percent": ("drift of the mean colour from chunk 1, % of full scale, worst person", max),
    "seam_ratio": ("change at the seam before it / mean change, median", np.median),
    "psnr_db": ("PSNR to the plain chain, dB, mean", np.mean),
    "computed": ("steps computed", np.mean),
}


def tables(people: list[dict[str, list[dict]]]) -> dict[str, list[dict]]:
    made = {}
    for name, (title, over) in ROWS.items():
        rows = []
        for way in WAYS:
            chunks = [[figures.get(name) for figures in at] for at in zip(*(each[way] for each in people))]
            known = {f"chunk {i}": float(over(values)) for i, values in enumerate(chunks, 1) if None not in values}
            rows += [{"way": way, **known}] if known else []
        made[title] = rows
    return made


def missed(people: list[dict[str, list[dict]]]) -> Iterable[str]:
    """What falls short: each chunk of each way beside the plain one."""
    for way in WAYS:
        for place in range(len(people[0][way])):
            at, beside = ([each[name][place] for each in people] for name in (way, "plain"))
            sync, plain = (np.median([one["sync"] for one in which]) for which in (at, beside))
            drifts = [[max(one["identity_percent"], one["colour_percent"]) for one in which] for which in (at, beside)]
            drift, own = map(max, drifts)
            late = max(abs(one["lag_frames"]) for one in at)
            where = f"{way}, chunk {place + 1}"
            if sync < min(LEAST_SYNC, plain) or sync < plain - LOST_SYNC:
                yield f"{where}: correlation {sync:.3f}, plain {plain:.3f}"
            if late > MOST_LAG:
                yield f"{where}: lag {late} frames, at most {MOST_LAG}"
            if drift >= MOST_DRIFT or drift > own + ADDED_DRIFT:
                yield f"{where}: drift {drift:.2f} %, plain {own:.2f} %, below {MOST_DRIFT:g} %"


def parse(argv=None) -> argparse.Namespace:
    made = parser("bench.long", __doc__, f"2 people, {LEAST_CHUNKS} chunks")
    made.add_argument("--people", type=int, default=PEOPLE, help=f"held-out people ({PEOPLE})")
    made.add_argument("--chunks", type=int, default=CHUNKS, help=f"33 frames, then 36 each ({CHUNKS})")
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--guidance", type=float, default=2.0, help="(2, which the Tiny Talker was made for)")
    made.add_argument("--sampler", default="uni_pc", help="(uni_pc)")
    options = made.parse_args(argv)
    if options.quick:
        options.people, options.chunks = 2, LEAST_CHUNKS
    return options


def main(argv=None) -> int:
    options = parse(argv)
    if find_host() is None:
        sys.exit("error: ComfyUI is needed: set COMFYUI_PATH to its folder")
    found = on_all_cores(partial(person, options=options), range(options.people), "long")
    seconds = (FRAMES + (options.chunks - 1) * 4 * LATENT_FRAMES) / FPS
    say(f"{options.people} people, {options.chunks} chunks, {seconds:.1f} s; {options.steps} {options.sampler} steps, "
        f"guidance {options.guidance:g}, shift {SHIFT:g}")
    return finish(tables(found), missed(found), options)


if __name__ == "__main__":
    sys.exit(main())
