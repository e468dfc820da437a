"""Other people's packs, run for real: a small talker's graph in ComfyUI with a pack's node in the MODEL line.

`python -m bench.peers FOLDER --node CLASS [--inputs JSON] [--node CLASS ...] [--world tiny|wild] [--setting NAME]
[--clips N] [--quick] [--json FILE] [--check]`.

MODEL -> the pack's node -> KSampler, on held-out clips, beside ComfyUI's own uncached video of the same clip and noise.
FOLDER is a pack that the user has; ComfyUI's own loader imports it, and nothing of it comes with us. --inputs belongs to
the --node before it; what it leaves out keeps the node's own default. `--node SyncCache` is our node.

Each clip has a process to itself, and its uncached video is made before the pack is imported, which may patch anything;
each row has a newly loaded model. block_calls and audio_calls are the shares of the uncached run's calls of transformer
blocks and of the audio injector that were really made, each branch of a batch counted for itself: audio_calls 0 is audio
that never reached the video. speedup is a ratio of CPU seconds of one thread in one process. Intervals: 95 %, bootstrap
over clips.

Where a pack does not import, or its node raises, the row says so. Needs ComfyUI and espeak-ng; a clip takes a minute, and
half a minute more for each row. Evidence about the mechanism, never about a real model's quality.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from demo.console import say
from demo.find_host import find_host, host_version

from .harness import finish, held_out_scene, interval, on_all_cores, parser
from .metrics import figures, mouth
from .native import Native
from .settings import JUDGED, SETTINGS, Setting, add_world, setting_in

CLIPS, FEW = 4, 2
SHARES = ("block_calls", "audio_calls")
FIGURES = ("speedup", "whole_db", "human_db", "mouth_db", "mouth_correlation", "vmaf")
WIDGETS = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}  # what the editor shows where a node names no default
NO_HOST = "nothing could be tried: no ComfyUI found (COMFYUI_PATH)"
UNCHANGED = "left the model unchanged: everything computed, output identical"
NO_AUDIO = "the audio injector was never called"
NOT_FINITE = "gave a video that is not finite"


class Unusable(ValueError):
    """A node that does not fit between MODEL and KSampler, or not with these inputs."""


@dataclass(frozen=True)
class Way:
    """A row: class of the node, and the inputs that do not keep their defaults."""

    node: str
    inputs: dict = field(default_factory=dict)

    def label(self, folder: Path) -> str:
        return self.node if self.node == "SyncCache" else f"{folder.name}: {self.node}"


@dataclass(frozen=True)
class Sampled:
    """latents: normalised, as the standalone model has them. calls: by SHARES. seconds: of the CPU."""

    latents: torch.Tensor
    calls: Counter
    seconds: float


Job = tuple[Setting, int, Path, Sequence[Way]]  # setting, number of a clip, the pack, rows


def count_calls(dit: torch.nn.Module) -> Counter:
    """By SHARES, from now on."""
    calls = Counter()

    def called(name: str, _, given: tuple, named: dict) -> None:
        calls[name] += next(value for value in (*given, *named.values()) if isinstance(value, torch.Tensor)).shape[0]

    for name, module in (*((SHARES[0], block) for block in dit.blocks), (SHARES[1], dit.audio_injector)):
        module.register_forward_pre_hook(partial(called, name), with_kwargs=True)
    return calls


def default(kind: object, options: dict | None = None) -> dict:
    """{"default": value} of an input as INPUT_TYPES declares it; {} where there is nothing to choose by itself."""
    choices = kind if isinstance(kind, (list, tuple)) else (options or {}).get("options")
    known = {"default": choices[0]} if choices else {"default": WIDGETS[kind]} if kind in WIDGETS else {}
    return known | {key: value for key, value in (options or {}).items() if key == "default"}


def inputs_of(node: type, given: dict, model: object) -> dict:
    """All inputs of a node of either API, which both have INPUT_TYPES."""
    declared = node.INPUT_TYPES()
    specs = {**declared.get("required", {}), **declared.get("optional", {})}
    slot = next((name for name, spec in specs.items() if "MODEL" in str(spec[0]).split(",")), None)
    if slot is None:
        raise Unusable("takes no MODEL")
    if unknown := sorted(set(given) - set(specs)):
        raise Unusable(f"has no input {', '.join(unknown)}; it has {', '.join(specs)}")
    hidden = {} if hasattr(node, "PREPARE_CLASS_CLONE") else dict.fromkeys(declared.get("hidden", {}))
    known = {name: value for name, spec in specs.items() for value in default(*spec).values()}
    found = hidden | known | given | {slot: model}
    if lacking := [name for name in declared.get("required", {}) if name not in found]:
        raise Unusable(f"needs {', '.join(lacking)}, which no default gives")
    return found


def through(comfy: object, way: Way, model: object) -> object:
    """The first MODEL that the node gives for this one. comfy: has `nodes` and `call`, as `demo.comfy_graph.Comfy`."""
    node = comfy.nodes.get(way.node)
    if node is None:
        raise Unusable("no such node in this pack")
    if "MODEL" not in node.RETURN_TYPES:
        raise Unusable("gives no MODEL")
    made = comfy.call(way.node, **inputs_of(node, way.inputs, model))
    return (made["result"] if isinstance(made, dict) else made)[list(node.RETURN_TYPES).index("MODEL")]


@contextmanager
def heard(level: int) -> Iterator[list[str]]:
    """What is logged meanwhile, from this level up."""
    told, handler = [], logging.Handler(level)
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        yield told
    finally:
        logging.getLogger().removeHandler(handler)


def brief(text: str, folder: Path) -> str:
    """The first line, without the folders of this machine."""
    for path, name in ((folder, folder.name), (find_host(), "ComfyUI")):
        text = text.replace(str(path), name)
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def load(folder: Path) -> str:
    """Why ComfyUI's own loader does not take the pack; "" where it does."""
    import nodes

    with heard(logging.WARNING) as told, redirect_stdout(sys.stderr):
        done = asyncio.run(nodes.load_custom_node(str(folder), module_parent="custom_nodes"))
    why = told[-1].rpartition("module for custom nodes: ")[2] if told else ""
    return "" if done else f"does not import: {brief(why, folder)}"


@dataclass
class Stand:
    """One clip in ComfyUI, where one way after the other is sampled."""

    clip: Native
    folder: Path

    def __post_init__(self):
        self.scene = held_out_scene(self.clip.number, self.clip.setting.world)
        self.plain = self.sample(None)
        self.frames = self.clip.on.decode(self.plain.latents)

    def sample(self, way: Way | None) -> Sampled:
        """With a newly loaded model, which no earlier way has touched. way: None for ComfyUI alone."""
        comfy = self.clip.comfy
        comfy.model, comfy.vae, comfy.conditioning, comfy.latent = comfy.load(self.scene)
        comfy.warm_up()
        calls = count_calls(comfy.model.model.diffusion_model)
        model = comfy.model if way is None else through(comfy, way, comfy.model)
        started = time.process_time()
        latents, _ = self.clip.sample(model)
        return Sampled(latents, calls, time.process_time() - started)

    def row(self, way: Way) -> dict:
        """The figures of a way, and a note; the note alone where it made no video."""
        with heard(logging.ERROR) as told, redirect_stdout(sys.stderr):
            try:
                made = self.sample(way)
            except Exception as error:  # anything may come out of a pack, and the other rows go on
                return {"note": brief(f"{type(error).__name__}: {error}", self.folder)}
        if not made.latents.isfinite().all():
            return {"note": NOT_FINITE}
        notes = [*self.remarks(made), *(brief(text, self.folder) for text in told[:1])]
        return self.measured(made) | {"note": "; ".join(notes)}

    def measured(self, made: Sampled) -> dict[str, float]:
        found = figures(self.clip.on.decode(made.latents), self.frames, self.scene.opening, self.clip.setting.world)
        found |= {name: made.calls[name] / self.plain.calls[name] for name in SHARES}
        found["speedup"] = self.plain.seconds / made.seconds
        return {name: found[name] for name in (*SHARES, *FIGURES)}

    def remarks(self, made: Sampled) -> Iterator[str]:
        if made.calls == self.plain.calls and torch.equal(made.latents, self.plain.latents):
            yield UNCHANGED
        if not made.calls[SHARES[1]]:
            yield NO_AUDIO


def film(job: Job) -> list[dict]:
    """What the uncached video is like by itself, and what each way gave, on one clip."""
    setting, number, folder, ways = job
    stand = Stand(Native(setting, number, number), folder)
    plain = mouth(stand.frames, stand.scene.opening, setting.world)["mouth_correlation"]
    failure = load(folder)
    rows = [{"note": failure} if failure and way.node != "SyncCache" else stand.row(way) for way in ways]
    return [dict.fromkeys(SHARES, 1.0) | {"mouth_correlation": plain, "note": ""}, *rows]


def line(label: str, inputs: dict, films: Sequence[dict]) -> dict:
    """A row of the table from one way's rows of all clips; clips: that gave a video."""
    made = [film for film in films if SHARES[0] in film]
    row = {"node": label, "inputs": json.dumps(inputs) if inputs else "", "clips": len(made)}
    for name in SHARES:
        row[name] = round(float(np.mean([film[name] for film in made])), 3) if made else None
    for name in FIGURES:
        values = [film[name] for film in made if name in film]
        row[name] = tuple(round(value, 4) for value in interval(values)) if values else None
    notes = Counter(film["note"] for film in films if film["note"])
    told = (note if count == len(films) else f"{note} ({count} of {len(films)} clips)" for note, count in notes.items())
    return row | {"note": "; ".join(told)}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("bench.peers", __doc__, f"{FEW} clips")
    made.add_argument("folder", type=Path, metavar="FOLDER", help="a pack of custom nodes")
    made.add_argument("--node", dest="ways", type=Way, action="append", required=True, metavar="CLASS",
                      help="its key in NODE_CLASS_MAPPINGS, or node id; a row for each")  # fmt: skip
    made.add_argument("--inputs", type=json.loads, action=Inputs, metavar="JSON", help="of the --node before it")
    made.add_argument("--setting", choices=list(SETTINGS), help="steps, guidance and sampler (default: the world's first)")
    add_world(made)
    made.add_argument("--clips", type=int, help=f"held-out clips (default: {CLIPS})")
    found = made.parse_args(arguments)
    if not found.folder.exists():
        made.error(f"nothing could be tried: there is no {found.folder}")
    found.setting = found.setting or JUDGED[found.world][0]
    found.clips, found.folder = found.clips or (FEW if found.quick else CLIPS), found.folder.resolve()
    return found


class Inputs(argparse.Action):
    """Gives the --node before it its inputs."""

    def __call__(self, made, options, value, option=None):
        if not options.ways or not isinstance(value, dict):
            made.error(f"{option} needs an object in JSON, after a --node")
        options.ways[-1].inputs.update(value)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments)
    if find_host() is None:
        say(NO_HOST)
        return 1
    setting = setting_in(options.world, options.setting)
    jobs = [(setting, number, options.folder, options.ways) for number in range(options.clips)]
    films = on_all_cores(film, jobs, options.folder.name, fresh=True)
    heads = [("uncached", {}), *((way.label(options.folder), way.inputs) for way in options.ways)]
    table = [line(*head, [film[index] for film in films]) for index, head in enumerate(heads)]
    missed = () if any(row["clips"] for row in table[1:]) else ("nothing could be tried: no node gave a video",)
    title = f"{options.folder.name} in ComfyUI {host_version(find_host())}, {setting.name}: mean (95 % interval)"
    return finish({title: table}, missed, options)


if __name__ == "__main__":
    sys.exit(main())
