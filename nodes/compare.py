"""The node that says how far an accelerated video is from the plain one, so that everybody can measure their own model."""

import json
import platform
from math import inf, isfinite

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io, ui
from comfyui_version import __version__ as host_version
from PIL import Image

from ..synccache_core import Plan, __version__
from ..synccache_core.compare.findings import Findings
from ..synccache_core.compare.lips import loudness
from ..synccache_core.errors import BadVideo
from ..synccache_core.files.checked import check_number
from ..synccache_core.human import mask as geometry
from ..synccache_core.sentences import say
from . import faces
from .images import as_image
from .measuring import BY_FACES, Look, Videos, check, frame, mouth_of
from .pictures import compare, heat
from .run import Runs, RunType
from .text import PLACE, NodeText

FPS = 16.0  # of Wan2.2-S2V
LEAST_FPS, MOST_FPS = 1.0, 240.0
COLUMNS = 4  # frames in the strip
CELLS = 128  # of the heat map's longer side at most: single pixels are noise
HEAT_LINES = (
    "Mean absolute difference of the accelerated video from the plain one, over all frames, in percent of white.",
    "Bright: there the two differ most. The colours run from the least to the greatest value, whatever these are: "
    "the scale says whether it is much.",
)


class SyncCacheCompare(io.ComfyNode):
    """IMAGE batches [F, H, W, C] of one shape; mask [H, W], [1, H, W] or [F, H, W] of any size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncCacheCompare",
            display_name="SyncCache Compare",
            category="SyncCache",
            description="How far an accelerated video is from the plain one of the same seed: whole, person and mouth, "
            "frame by frame, the lips beside the sound; as text, JSON and pictures.",
            search_aliases=["PSNR", "SSIM", "quality", "difference", "metrics", "lip sync", "benchmark"],
            inputs=[
                io.Image.Input("plain", tooltip="The frames without SyncCache."),
                io.Image.Input("accelerated", tooltip="The frames with SyncCache: same seed, steps, length and size."),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="Where the person is, or the face. One mask, or one per frame, of any size.",
                ),
                io.Audio.Input(
                    "audio", optional=True, tooltip="The sound of the video, to see whether the lips follow it."
                ),
                io.Image.Input(
                    "second_noise", optional=True,
                    tooltip="A plain video with another seed, all else equal: how far it is from plain says how much a "
                    "difference means.",
                ),
                io.Float.Input(
                    "fps", default=FPS, min=LEAST_FPS, max=MOST_FPS, step=0.01, optional=True,
                    tooltip="Frames per second of the video, to lay the sound over it. Wan2.2-S2V has 16.",
                ),
                RunType.Input(
                    "run", optional=True,
                    tooltip="From the SyncCache node that made the accelerated video: the JSON then has its settings.",
                ),
                io.String.Input(
                    "plan_json", optional=True, force_input=True, tooltip="The plan that it used, for the JSON."
                ),
                io.Latent.Input(
                    "samples", optional=True,
                    tooltip="The latent that the accelerated video was decoded from, for the settings of the run that made "
                    "it.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="The figures, the lips and a verdict, as Markdown."),
                io.String.Output(display_name="json", tooltip="The same with curves, settings and versions, to be shared."),
                io.Image.Output(display_name="strip", tooltip="Frames of both, where they differ, and the mouths."),
                io.Image.Output(display_name="heat_map", tooltip="Where they differ, over all frames."),
                io.Image.Output(display_name="curves", tooltip="Mouths over the sound, and the likeness of each frame."),
            ],
            hidden=PLACE,
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, plain, accelerated, mask=None, audio=None, second_noise=None, fps=FPS, run=None, plan_json="",
        samples=None,
    ) -> io.NodeOutput:
        check_number("fps", fps, LEAST_FPS, MOST_FPS)
        plan = Plan.from_json(plan_json) if plan_json and plan_json.strip() else None
        given = None if mask is None else geometry.as_mask(mask, "mask")
        videos = check(Videos(plain, accelerated, second_noise, given))
        where, notes = mouth_of(videos, comfy.model_management.throw_exception_if_processing_interrupted)
        look = Look(videos, where).run(progress(len(plain)))
        heard, said = sound(audio, len(plain), fps)
        made = None if run is None else run.of(samples["samples"] if samples else None)
        doubt = [made.note] if made and made.note else []
        about = {"versions": versions(where.by == BY_FACES), "settings": settings(made), "plan": planned(plan)}
        found = findings(look, fps, heard, [*notes, *said, *doubt], about)
        text = found.text()
        NodeText(cls.hidden)(found.lines())
        pictures = drawn(look, found)
        shown = [image for picture in pictures for image in ui.PreviewImage(picture).as_dict()["images"]]
        preview = {"images": shown, **ui.PreviewText(text).as_dict()}
        return io.NodeOutput(text, found.to_json(), *pictures, ui=preview)


def progress(frames: int):
    """watch(frames that are done), which raises where somebody pressed Cancel."""
    bar = comfy.utils.ProgressBar(frames)

    def watch(done: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done)

    return watch


def sound(audio: dict | None, frames: int, fps: float):
    """(loudness of each frame or None, what to say about it). Raises BadVideo."""
    if audio is None:
        return None, []
    try:
        waveform, rate = torch.as_tensor(audio["waveform"]), float(audio["sample_rate"])
        samples = waveform.detach().to("cpu", torch.float32)[0].mean(0).numpy()
    except (TypeError, KeyError, IndexError, ValueError, RuntimeError):
        raise BadVideo("audio must be an AUDIO, a waveform [1, channels, samples] with its sample_rate") from None
    if not samples.size or not rate > 0:
        raise BadVideo(f"audio holds {samples.size} samples at {rate:g} Hz: no sound to compare with")
    seconds, lasts = samples.size / rate, frames / fps
    short = say(
        "the sound lasts {seconds} s, the video {lasts} s at {fps} fps", seconds=f"{seconds:.2f}", lasts=f"{lasts:.2f}",
        fps=f"{fps:g}",
    )  # fmt: skip
    return loudness(samples, rate, frames, fps), [short] if seconds < lasts - 1 / fps else []


def findings(look: Look, fps: float, heard, notes: list[str], about: dict) -> Findings:
    videos, names = look.videos, ["whole", "mouth"]
    if videos.mask is not None:
        names = ["whole", "human", "mouth", "background"]
    regions = {name: region for name in names if (region := look.accelerated.region(name)) is not None}
    if "human" in names and "human" not in regions:
        notes = [*notes, say("the mask is empty")]
    floor = {} if look.second is None else {name: look.second.region(name) for name in regions}
    height, width = videos.size
    return Findings(
        frames=len(videos.plain), width=width, height=height, fps=fps, regions=regions, floor=floor,
        added_flicker=look.accelerated.added_flicker, mouths=look.mouths(heard), notes=tuple(notes), about=about,
    )  # fmt: skip


def versions(used_faces: bool) -> dict:
    """Of what made and measured the videos; what the device is called, for seconds mean nothing without."""
    device = comfy.model_management.get_torch_device()
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "synccache": __version__, "comfyui": host_version, "torch": torch.__version__, "python": platform.python_version(),
        "device": named, "mediapipe": faces.version() if used_faces else None,
    }  # fmt: skip


def settings(made: Runs | None) -> list[dict] | None:
    """What each sampling run did; without notes and plan names, which are somebody's own words."""
    if made is None:
        return None
    return [
        {
            "model": report.model, "blocks": report.blocks, "audio_refreshes": report.refresh_points, "level": report.level,
            "order": report.order, "steps": "".join(step.action[0] for step in report.steps),
            "sigmas": [float(f"{step.sigma:.5g}") for step in report.steps], "computed": report.computed,
            "reused": report.reused, "corrections": report.corrections, "asked": report.asked,
            "speedup_measured": report.speedup_measured, "speedup_ideal": report.speedup_ideal,
            "seconds": sum(step.seconds for step in report.steps), "bytes_held": report.bytes_held,
            "groups": report.groups, "branches": report.branches, "tokens": report.tokens, "config": report.settings,
        }
        for report in made.reports
    ]  # fmt: skip


def planned(plan: Plan | None) -> dict | None:
    """A plan without its note, which is the name that somebody gave it, and without the sketch."""
    if plan is None:
        return None
    whole = json.loads(plan.to_json())
    whole.pop("sketch", None)
    del whole["provenance"]["note"]
    return whole


def drawn(look: Look, found: Findings) -> tuple[torch.Tensor, ...]:
    """Strip, heat map and curves as IMAGEs."""
    videos, whole = look.videos, found.regions["whole"]
    columns = [
        compare.Column(
            number, frame(videos, "plain", number), frame(videos, "accelerated", number), look.where.boxes[number].tolist(),
            number == whole.worst,
        )
        for number in picked(found.frames, whole.worst)
    ]  # fmt: skip
    headline = ", ".join(f"{name} {told(region)}" for name, region in found.regions.items())
    floor = found.floor.get("whole")
    shown = compare.Curves(
        found.mouths.plain, found.mouths.accelerated, found.mouths.loudness, whole.frames, found.regions["mouth"].frames,
        floor.psnr if floor and isfinite(floor.psnr) else None, found.lips(),
    )  # fmt: skip
    below = Image.fromarray((255 * columns[0].plain).round().astype("uint8"))
    return (
        as_image(compare.strip(columns, headline)),
        as_image(heat.draw(coarse(look.accelerated.difference()), below, "Where the videos differ", HEAT_LINES)),
        as_image(compare.curves(shown, headline)),
    )


def told(region) -> str:
    return "identical" if region.psnr == inf else f"{region.psnr:.1f} dB"


def picked(frames: int, worst: int) -> list[int]:
    """Frames for the strip: evenly spread, the one nearest to the worst replaced by it."""
    even = sorted({int((place + 0.5) * frames / COLUMNS) for place in range(COLUMNS)})
    nearest = min(even, key=lambda number: abs(number - worst))
    return sorted({worst if number == nearest else number for number in even})


def coarse(difference) -> torch.Tensor:
    """Means over blocks, so that the map has at most CELLS on its longer side."""
    step = -(-max(difference.shape) // CELLS)
    values = torch.from_numpy(difference)[None, None]
    return torch.nn.functional.avg_pool2d(values, step, ceil_mode=True, count_include_pad=False)[0, 0]
