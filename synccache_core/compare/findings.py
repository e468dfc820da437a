"""What a comparison of a plain and an accelerated video found: as a table, in words and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from ..sentences import say
from .likeness import Likeness
from .lips import FLAT, best_lag, correlation

FORMAT, VERSION = "synccache-comparison", 1
CLEAR, LITTLE = 10.0, 3.0  # dB closer to the plain video than another noise is
LOOSE, UNRELATED = 0.05, 0.3  # of correlations: a loss worth a word; below this a mouth hardly follows the sound
SAME = say("identical")
REGIONS = {"whole": say("whole"), "human": say("human"), "mouth": say("mouth"), "background": say("background")}


@dataclass(frozen=True)
class Sync:
    """How a curve goes with another one. lag: by how many frames it comes late."""

    correlation: float
    lag: int


@dataclass(frozen=True)
class Mouths:
    """by: how they were found, in words. plain, accelerated, second: opening [F]. loudness: of the sound [F], None = none
    was given.
    """

    by: str
    plain: np.ndarray
    accelerated: np.ndarray
    second: np.ndarray | None = None
    loudness: np.ndarray | None = None


@dataclass(frozen=True)
class Findings:
    """regions: the accelerated video beside the plain one. floor: the plain video of another noise beside it, {} = none was
    given. added_flicker: of white = 1. about: versions, settings, plan. notes: sentences.
    """

    frames: int
    width: int
    height: int
    fps: float
    regions: Mapping[str, Likeness]
    floor: Mapping[str, Likeness]
    added_flicker: float
    mouths: Mouths
    notes: tuple[str, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)

    def text(self) -> str:
        """The verdict, the table in Markdown, and below it a list of what is no number of a region, with the notes."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Those of the text, each a sentence; empty ones between its parts."""
        said = [self._flicker(), *self.lips(), *(say("note: {note}", note=note) for note in self.notes)]
        listed = [say("- {line}", line=line) for line in said]
        return [self.verdict(), "", self._head(), "", *self.table(), "", *listed]

    def table(self) -> list[str]:
        """One line a region, below two of head."""
        head = [say("| region | PSNR | SSIM | worst frame |"), "| - | - | - | - |"]
        if self.floor:
            head = [say("| region | PSNR | SSIM | worst frame | two noises |"), "| - | - | - | - | - |"]
        return head + [self._row(name, found) for name, found in self.regions.items()]

    def _row(self, name: str, found: Likeness) -> str:
        at_worst = decibels(found.frames[found.worst])
        worst = SAME if found.psnr == np.inf else say("{decibels} (frame {number})", decibels=at_worst, number=found.worst)
        structure = "" if found.ssim is None else similar(found.ssim)
        row = {"region": REGIONS[name], "decibels": decibels(found.psnr), "structure": structure, "worst": worst}
        if not self.floor:
            return say("| {region} | {decibels} | {structure} | {worst} |", **row)
        floor = decibels(self.floor[name].psnr)
        return say("| {region} | {decibels} | {structure} | {worst} | {floor} |", **row, floor=floor)

    def lips(self) -> list[str]:
        """How the mouths go with each other and with the sound."""
        seen, follows = self.mouths, self.follows()
        fast = self._in_words(together(seen.accelerated, seen.plain))
        alike = say("mouth opening, correlation: accelerated beside plain {fast}", fast=fast)
        if seen.second is not None:
            noises = self._in_words(together(seen.second, seen.plain))
            alike = say("{line}; two noises {other}", line=alike, other=noises)
        lines = [say("mouth, by {means}", means=seen.by), alike]
        if seen.loudness is None:
            return lines
        plain, fast = (self._in_words(follows[name]) for name in ("plain", "accelerated"))
        sound = say("mouth opening with the sound's loudness: plain {plain}; accelerated {fast}", plain=plain, fast=fast)
        if seen.second is not None:
            sound = say("{line}; second noise {other}", line=sound, other=self._in_words(follows["second noise"]))
        return [*lines, sound]

    def follows(self) -> dict[str, Sync | None]:
        """How each mouth goes with the sound; {} without one."""
        seen = self.mouths
        curves = {"plain": seen.plain, "accelerated": seen.accelerated, "second noise": seen.second}
        known = {name: curve for name, curve in curves.items() if curve is not None and seen.loudness is not None}
        return {name: together(curve, seen.loudness) for name, curve in known.items()}

    def verdict(self) -> str:
        likeness, lips = self._likeness(), self._sync()
        if lips is None:
            return say("verdict: {likeness}.", likeness=likeness)
        return say("verdict: {likeness}. {lips}.", likeness=likeness, lips=lips)

    def to_dict(self) -> dict:
        """Numbers only, without names or paths. A PSNR is null where pixels are identical, or a frame lacks the region."""
        seen, video = self.mouths, {"frames": self.frames, "width": self.width, "height": self.height, "fps": self.fps}
        names = ("plain", "accelerated", "second_noise", "loudness")
        curves = dict(zip(names, (seen.plain, seen.accelerated, seen.second, seen.loudness)))
        beside = {"accelerated": together(seen.accelerated, seen.plain)}
        if seen.second is not None:
            beside["second noise"] = together(seen.second, seen.plain)
        return {
            "format": FORMAT, "version": VERSION, **self.about, "video": video,
            "accelerated": {name: figures(found) for name, found in self.regions.items()},
            "second_noise": {name: figures(found) for name, found in self.floor.items()} or None,
            "flicker_added_percent": rounded(100 * self.added_flicker),
            "mouth": {
                "by": seen.by, "beside_plain": synced(beside), "with_sound": synced(self.follows()) or None,
                "curves": {name: rounded(curve) for name, curve in curves.items() if curve is not None},
            },
            "notes": list(self.notes), "verdict": self.verdict(),
        }  # fmt: skip

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), allow_nan=False)

    def _head(self) -> str:
        size = f"{self.width}×{self.height}"
        return say("plain beside accelerated: {frames} of {size}", frames=counted(self.frames), size=size)

    def _flicker(self) -> str:
        added = say("flicker: {percent} % of white added", percent=f"{100 * self.added_flicker:.2g}")
        changes = [
            say("{region} {ratio}×", region=REGIONS[name], ratio=f"{found.flicker:.3g}")
            for name, found in self.regions.items() if found.flicker is not None
        ]  # fmt: skip
        if not changes:
            return added
        return say("{added}; change from frame to frame beside plain: {changes}", added=added, changes=changes)

    def _in_words(self, found: Sync | None) -> str:
        if found is None:
            return say("unknown, it does not move")
        shown, frames = f"{found.correlation:.3f}", counted(abs(found.lag))
        milliseconds = f"{1000 * abs(found.lag) / self.fps:.0f}"
        if found.lag > 0:
            return say("{shown}, {frames} late ({ms} ms)", shown=shown, frames=frames, ms=milliseconds)
        return say("{shown}, {frames} early ({ms} ms)", shown=shown, frames=frames, ms=milliseconds) if found.lag else shown

    def _likeness(self) -> str:
        whole = self.regions["whole"].psnr
        if whole == np.inf:
            return say("The two videos are identical, pixel by pixel")
        if not self.floor:
            return say(
                "The accelerated video is {decibels} from the plain one; whether that is much depends on the model: connect "
                "a second plain video, made with another seed, to second_noise. Two noises of this pack's quiet test model "
                "differ by about 32 dB, of its wild one by 20",
                decibels=decibels(whole),
            )  # fmt: skip
        if self.floor["whole"].psnr == np.inf:
            return say("The video of second_noise is identical to plain: connect a plain run with another seed")
        gains = {name: found.psnr - self.floor[name].psnr for name, found in self.regions.items()}
        known = say(
            "Two noises of your model differ by {floor}; the accelerated video is closer to plain by {closer}",
            floor=[self._of(name, decibels(self.floor[name].psnr)) for name in self.regions],
            closer=[self._of(name, f"{gain:+.1f} dB") for name, gain in gains.items() if isfinite(gain)],
        )  # fmt: skip
        if gains["whole"] >= CLEAR:
            return say("{known}: the same performance with small differences", known=known)
        if gains["whole"] >= LITTLE:
            return say("{known}: the same performance with differences that may show", known=known)
        return say(
            "{known}: about another performance, as another seed gives; judge it by eye and by the mouth", known=known
        )  # fmt: skip

    @staticmethod
    def _of(region: str, value: str) -> str:
        return say("{region} {value}", region=REGIONS[region], value=value)

    def _sync(self) -> str | None:
        """Of the lips, None where there is nothing to say."""
        found = self.follows()
        plain, fast = found.get("plain"), found.get("accelerated")
        if plain is None or self.regions["whole"].psnr == np.inf:
            return None
        if plain.correlation < UNRELATED:
            shown = f"{plain.correlation:.2f}"
            return say("The plain video's mouth hardly follows the sound ({shown}): it tells nothing of lips", shown=shown)
        if fast is None:
            return say("The accelerated video's mouth does not move")
        both = {"fast": f"{fast.correlation:.3f}", "plain": f"{plain.correlation:.3f}"}
        follows = say("The mouth follows the sound as the plain one does ({fast} beside {plain})", **both)
        if fast.correlation < plain.correlation - LOOSE:
            follows = say("The mouth follows the sound less well than the plain one ({fast} beside {plain})", **both)
        frames = counted(abs(fast.lag - plain.lag))
        if fast.lag > plain.lag:
            return say("{follows}, and comes {frames} later", follows=follows, frames=frames)
        if fast.lag < plain.lag:
            return say("{follows}, and comes {frames} earlier", follows=follows, frames=frames)
        return follows


def counted(frames: int) -> str:
    return say("1 frame") if frames == 1 else say("{count} frames", count=frames)


def together(seen: np.ndarray, other: np.ndarray) -> Sync | None:
    """None where one of them does not move."""
    if not min(np.std(seen), np.std(other)) > FLAT:
        return None
    return Sync(correlation(seen, other), best_lag(seen, other))


def synced(found: Mapping[str, Sync | None]) -> dict:
    named = {name.replace(" ", "_"): sync for name, sync in found.items()}
    return {
        name: None if sync is None else {"correlation": rounded(sync.correlation), "lag_frames": sync.lag}
        for name, sync in named.items()
    }


def figures(found: Likeness) -> dict:
    """Of one region, as JSON has it."""
    worst = found.frames[found.worst]
    return {
        "psnr_db": rounded(found.psnr), "identical": found.psnr == np.inf, "ssim": rounded(found.ssim),
        "worst_frame": found.worst, "worst_frame_psnr_db": rounded(worst), "flicker_ratio": rounded(found.flicker),
        "frames_psnr_db": rounded(found.frames),
    }  # fmt: skip


def rounded(value):
    """Five digits that mean something; None for what is no finite number. Of a curve, a list."""
    if isinstance(value, np.ndarray):
        return [rounded(each) for each in value.tolist()]
    return float(f"{value:.5g}") if value is not None and isfinite(value) else None


def decibels(psnr: float) -> str:
    return SAME if psnr == np.inf else f"{psnr:.1f} dB"


def similar(ssim: float) -> str:
    """Short, but never 1 where something differs."""
    return "1" if ssim == 1 else f"{min(ssim, 0.9999):.4f}"
