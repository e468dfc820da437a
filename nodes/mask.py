"""Where the people are: a mask for SyncCache, by a detector or from another node, steady over the frames of a clip."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui

from ..synccache_core.errors import BadMask
from ..synccache_core.files.checked import check_number, check_text
from ..synccache_core.human import mask as geometry
from ..synccache_core.human.people import Found, Tracker, certain, parse_weights, with_faces
from ..synccache_core.sentences import say
from . import selfie
from .detector import Finder, build
from .detector_files import NONE, files, missing, path_of, state
from .text import PLACE, NodeText

CLASSES = "person, face"
MOTION = 2.0  # percent of the shorter side: bench.mask measures how much of the renderer's clips that covers
MOST_PIXELS, MOST_HOLD, MOST_MOTION = 512, 1000, 50.0
PREVIEWS = 4  # frames of a clip shown in the node
BATCH = 4


class Settings(NamedTuple):
    """The node's numbers; names as the inputs."""

    confidence: float
    grow: int
    feather: int
    motion: float
    hold: int
    weights: tuple[float, ...]


class Followed(NamedTuple):
    """One union of masks [h, w] a frame, None for nobody, and what to say about them."""

    frames: list[torch.Tensor | None]
    notes: list[str]


class SyncCacheHumanMask(io.ComfyNode):
    """IMAGE [F, H, W, C] -> MASK [F, H, W] and overlay IMAGE [F, H, W, 3].

    A connected mask may be [H, W], [1, H, W] (holds for every frame) or [F, H, W] with the image's F, of any size: it is
    resampled to H, W. Another F is an error with both numbers. For SyncCache the clip must have 1 frame, the video's
    pixel frames, or its latent frames: see grid.token_weights.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        offered = [NONE, *files()]
        return io.Schema(
            node_id="SyncCacheHumanMask",
            display_name="SyncCache Human Mask",
            category="SyncCache",
            description="Finds the people in a portrait or a driving clip, for the human_mask of SyncCache: by a YOLO model "
            "of ultralytics, by MediaPipe, or from a mask of any other node.",
            search_aliases=["person", "face", "segment", "YOLO", "ultralytics", "MediaPipe", "detect", "speaker"],
            inputs=[
                io.Image.Input("image", tooltip="The portrait, or the frames of a driving clip."),
                io.Combo.Input(
                    "detector", options=[*offered, *selfie.offered()], default=NONE, optional=True,
                    tooltip="A file in models/ultralytics/segm (outlines) or bbox (boxes, which become soft ellipses), "
                    "or MediaPipe where it is installed. none: connect a mask. Press R to look again.",
                ),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="From SAM3, RT-DETR, background removal or any other node; joined with what the detectors find.",
                ),
                io.String.Input(
                    "classes", default=CLASSES, optional=True,
                    tooltip="Names of the detector's classes that count, with commas between. * takes all.",
                ),
                io.Float.Input(
                    "confidence", default=0.35, min=0.01, max=1.0, step=0.01, display_mode=io.NumberDisplay.slider,
                    optional=True,
                    tooltip="How sure the detector must be. Lower finds more, right or wrong.",
                ),
                io.Int.Input(
                    "grow", default=0, min=-MOST_PIXELS, max=MOST_PIXELS, optional=True,
                    tooltip="Pixels to widen the mask by; below 0 it is narrowed.",
                ),
                io.Int.Input(
                    "feather", default=0, min=0, max=MOST_PIXELS, optional=True,
                    tooltip="Pixels over which its edge is softened.",
                ),
                *cls._advanced(offered),
            ],
            outputs=[
                io.Mask.Output(display_name="human_mask", tooltip="For SyncCache, and SyncCache Calibrate."),
                io.Image.Output(display_name="overlay"),
            ],
            hidden=PLACE,
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def _advanced(cls, offered: list[str]) -> list:
        return [
            io.Combo.Input(
                "face_detector", options=offered, default=NONE, optional=True, advanced=True,
                tooltip="A second model, for faces: each is added to the person it lies in, or to the mask on its own.",
            ),
            io.Float.Input(
                "motion", default=MOTION, min=0.0, max=MOST_MOTION, step=0.5, optional=True, advanced=True,
                tooltip="For a single picture only: how far the person will move, in percent of the shorter side. The mask "
                "is widened by that.",
            ),
            io.Int.Input(
                "hold", default=8, min=0, max=MOST_HOLD, optional=True, advanced=True,
                tooltip="Frames for which somebody who is no longer found keeps the last mask, or who is not found yet has "
                "the next. A camera cut ends it.",
            ),
            io.String.Input(
                "person_weights", default="", optional=True, advanced=True,
                tooltip='How much each person counts, 0 to 1, from the left: "1, 0.3". The last one holds for the others, '
                "empty is 1.",
            ),
        ]

    @classmethod
    def validate_inputs(cls, detector=None, face_detector=None) -> bool | str:
        """In place of ComfyUI's "value not in list". None: comes over a link and is not known yet."""
        if detector == selfie.CHOICE and not selfie.offered():
            return selfie.HOW
        known = {None, NONE, *files()}
        pairs = (detector, selfie.CHOICE), (face_detector, None)
        wrong = [choice for choice, also in pairs if choice not in {*known, also}]
        return missing(wrong[0]) if wrong else True

    @classmethod
    def fingerprint_inputs(cls, detector=None, face_detector=None, **_) -> str:
        return " ".join(state(choice) for choice in (detector, face_detector) if choice not in (None, NONE))

    @classmethod
    def execute(
        cls, image, detector=NONE, mask=None, classes=CLASSES, confidence=0.35, grow=0, feather=0, face_detector=NONE,
        motion=MOTION, hold=8, person_weights="",
    ) -> io.NodeOutput:
        settings = checked(confidence, grow, feather, motion, hold, person_weights)
        pictures = geometry.as_pictures(image)
        chosen = [choice for choice in (detector, face_detector) if choice != NONE]
        if not chosen and mask is None:
            raise BadMask(
                "choose a detector, or connect a mask from another node. Detectors are YOLO models of ultralytics in "
                "models/ultralytics/segm or bbox"
            )
        given = None if mask is None else geometry.on_frames(geometry.as_mask(mask, "mask"), len(pictures))
        finders = [finder(choice, classes) for choice in chosen]
        people, notes = follow(pictures, finders, given, settings)
        remarks = {choice: each.remark for choice, each in zip(chosen, finders) if each.remark}
        notes += [say("{detector}: {remark}", detector=choice, remark=remark) for choice, remark in remarks.items()]
        if given is not None and min(settings.weights) < 1:
            notes.append(say("the connected mask counts in full, person_weights holds for those whom a detector finds"))
        human, said = shaped(people, pictures, settings)
        shown = geometry.overlay(pictures, human)
        lines = [covered(len(pictures), f"{taken(people, human):.0%}"), *notes, *said]
        NodeText(cls.hidden)(lines)
        preview = {**ui.PreviewImage(shown[some(len(shown))]).as_dict(), **ui.PreviewText("\n".join(lines)).as_dict()}
        return io.NodeOutput(human, shown, ui=preview)


def taken(people: list[torch.Tensor | None], human: torch.Tensor) -> float:
    """Share of the pictures that people take up in their mask [F, H, W], which is filled where there is nobody: None."""
    there = torch.tensor([mask is not None for mask in people])
    return float((human.mean(dim=(1, 2)) * there).mean())


def covered(count: int, share: str) -> str:
    """Of so many pictures."""
    if count == 1:
        return say("one picture, people on {share} of the picture", share=share)
    return say("{count} frames, people on {share} of the picture", count=count, share=share)


def checked(confidence, grow, feather, motion, hold, person_weights) -> Settings:
    """Links and the API go past the widgets' limits. Raises BadInput, BadMask."""
    check_number("confidence", confidence, 0.01, 1.0)
    check_number("grow", grow, -MOST_PIXELS, MOST_PIXELS, whole=True)
    check_number("feather", feather, 0, MOST_PIXELS, whole=True)
    check_number("motion", motion, 0.0, MOST_MOTION)
    check_number("hold", hold, 0, MOST_HOLD, whole=True)
    check_text("person_weights", person_weights, 1000, least=0)
    return Settings(confidence, grow, feather, motion, hold, parse_weights(person_weights))


def finder(choice: str, classes: str) -> Finder | selfie.Outline:
    """The built network of a file, or MediaPipe. Raises BadDetector, NoDetector, BadInput."""
    check_text("classes", classes, 1000)
    if choice == selfie.CHOICE:
        return selfie.Outline()
    scratch = Path(folder_paths.get_temp_directory()) / "synccache_ultralytics"
    return build(path_of(choice), classes, comfy.model_management.get_torch_device(), scratch)


def follow(pictures: torch.Tensor, finders: list[Finder], given: torch.Tensor | None, settings: Settings) -> Followed:
    """Find and follow everybody through the frames [F, H, W, 3]; `given` [F, h, w] is joined with them."""
    height, width = pictures.shape[1:3]
    people, other = Tracker(settings.weights, settings.hold), Tracker((1.0,), settings.hold)
    cut, frames, held, doubtful = geometry.cuts(pictures), [], [], []
    for number, found in enumerate(find(pictures, finders, settings.confidence)):
        masks = [] if found is None else [people.follow(found, cut[number])]
        masks += [] if given is None else [other.follow(certain(given[number : number + 1]), cut[number])]
        there = [geometry.resized(mask[None], height, width)[0] for mask in masks if mask is not None]
        frames.append(torch.stack(there).amax(dim=0) if there else None)
        if any(person.missed for person in (*people.people, *other.people)):
            held.append(number)
        if frames[-1] is None and found is not None and len(found.masks):
            doubtful.append(number)
    frames, early = geometry.led_in(frames, cut, settings.hold)
    nobody = [number for number, mask in enumerate(frames) if mask is None]
    unsure = sorted({*nobody} & {*doubtful})
    return Followed(frames, noted(nobody, unsure, held, early, [number for number, new in enumerate(cut) if new]))


def noted(nobody: list[int], unsure: list[int], held: list[int], early: list[int], cuts: list[int]) -> list[str]:
    """What to say of frames, where there are any."""
    told = {
        say("nobody in {frames}: every pixel is weighed alike", frames=spans(nobody)): nobody,
        say(
            "somebody in {frames}, but less surely than the confidence asks: lower it to count them", frames=spans(unsure)
        ): unsure,
        say("no longer found, last mask held: {frames}", frames=spans(held)): held,
        say("not found yet, next mask held: {frames}", frames=spans(early)): early,
        say("camera cut before {frames}", frames=spans(cuts)): cuts,
    }
    return [text for text, numbers in told.items() if numbers]


def find(pictures: torch.Tensor, finders: list[Finder], confidence: float) -> Iterator[Found | None]:
    """The people in each frame; None where there is no finder. Can be interrupted."""
    bar = comfy.utils.ProgressBar(len(pictures))
    for batch in pictures.split(BATCH):
        comfy.model_management.throw_exception_if_processing_interrupted()
        found = [each.find(batch, confidence) for each in finders]
        if not found:
            yield from [None] * len(batch)
        elif len(found) == 1:
            yield from found[0]
        else:
            yield from map(with_faces, *found)
        bar.update(len(batch))


def shaped(people: list[torch.Tensor | None], pictures: torch.Tensor, settings: Settings) -> tuple[torch.Tensor, list[str]]:
    """The final mask [F, H, W], and what to say about it."""
    count, height, width = pictures.shape[:3]
    margin = geometry.motion_pixels(settings.motion, height, width) if count == 1 else 0
    human = geometry.grow(geometry.filled(people, height, width), settings.grow + margin)
    motion = f"{settings.motion:g}"
    said = say("widened by {margin} px for motion, {motion} % of the shorter side", margin=margin, motion=motion)
    return geometry.feather(human, settings.feather), [said] if margin else []


def spans(numbers: list[int]) -> str:
    """[3, 4, 5, 9] -> "frames 3-5, 9"."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1] = [groups[-1][0], number]
        else:
            groups.append([number, number])
    texts = [f"{first}-{last}" if last > first else str(first) for first, last in groups]
    shown = ", ".join(texts if len(texts) <= 8 else [*texts[:8], "..."])
    return say("frame {number}", number=shown) if len(numbers) == 1 else say("frames {numbers}", numbers=shown)


def some(count: int) -> list[int]:
    """Up to PREVIEWS frame numbers, spread evenly."""
    wanted = min(count, PREVIEWS)
    return [round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)]
