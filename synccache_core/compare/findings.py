"""What a comparison of a plain and an accelerated video found: as a table, in words and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from ..units import counted
from .likeness import Likeness
from .lips import FLAT, best_lag, correlation

FORMAT, VERSION = "synccache-comparison", 1
CLEAR, LITTLE = 10.0, 3.0  # dB closer to the plain video than another noise is
LOOSE, UNRELATED = 0.05, 0.3  # of correlations: a loss worth a word; below this a mouth hardly follows the sound
SAME = "identical"
COLUMNS = ("region", "PSNR", "SSIM", "worst frame", "two noises")
NO_FLOOR = (
    "whether that is much depends on the model: connect a second plain video, made with another seed, to second_noise. Two "
    "noises of this pack's quiet test model differ by about 32 dB, of its wild one by 20"
)


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
        said = [self._flicker(), *self.lips(), *(f"note: {note}" for note in self.notes)]
        parts = (self.verdict(), self._head(), self.table(), "\n".join(f"- {line}" for line in said))
        return "\n\n".join(parts)

    def table(self) -> str:
        """One line a region."""
        columns = COLUMNS if self.floor else COLUMNS[:-1]
        rows = [columns, ("-",) * len(columns)]
        for name, found in self.regions.items():
            worst = SAME if found.psnr == np.inf else f"{decibels(found.frames[found.worst])} (frame {found.worst})"
            structure = "" if found.ssim is None else similar(found.ssim)
            floor = [decibels(self.floor[name].psnr)] if self.floor else []
            rows.append((name, decibels(found.psnr), structure, worst, *floor))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def lips(self) -> list[str]:
        """How the mouths go with each other and with the sound."""
        seen = self.mouths
        alike = f"accelerated beside plain {self._in_words(together(seen.accelerated, seen.plain))}"
        if seen.second is not None:
            alike += f"; two noises {self._in_words(together(seen.second, seen.plain))}"
        lines = [f"mouth, by {seen.by}", f"mouth opening, correlation: {alike}"]
        if seen.loudness is not None:
            each = [f"{name} {self._in_words(found)}" for name, found in self.follows().items()]
            lines.append(f"mouth opening with the sound's loudness: {'; '.join(each)}")
        return lines

    def follows(self) -> dict[str, Sync | None]:
        """How each mouth goes with the sound; {} without one."""
        seen = self.mouths
        curves = {"plain": seen.plain, "accelerated": seen.accelerated, "second noise": seen.second}
        known = {name: curve for name, curve in curves.items() if curve is not None and seen.loudness is not None}
        return {name: together(curve, seen.loudness) for name, curve in known.items()}

    def verdict(self) -> str:
        return f"verdict: {'. '.join(s[0].upper() + s[1:] for s in (self._likeness(), *self._sync()))}."

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
        return f"plain beside accelerated: {counted(self.frames, 'frame')} of {self.width}×{self.height}"

    def _flicker(self) -> str:
        changes = [f"{name} {found.flicker:.3g}×" for name, found in self.regions.items() if found.flicker is not None]
        told = f"; change from frame to frame beside plain: {', '.join(changes)}" if changes else ""
        return f"flicker: {100 * self.added_flicker:.2g} % of white added{told}"

    def _in_words(self, found: Sync | None) -> str:
        if found is None:
            return "unknown, it does not move"
        late = f", {counted(abs(found.lag), 'frame')} {'late' if found.lag > 0 else 'early'}" if found.lag else ""
        return f"{found.correlation:.3f}{late}{f' ({1000 * abs(found.lag) / self.fps:.0f} ms)' if found.lag else ''}"

    def _likeness(self) -> str:
        whole = self.regions["whole"].psnr
        if whole == np.inf:
            return "the two videos are identical, pixel by pixel"
        if not self.floor:
            return f"the accelerated video is {decibels(whole)} from the plain one; {NO_FLOOR}"
        gains = {name: found.psnr - self.floor[name].psnr for name, found in self.regions.items()}
        if self.floor["whole"].psnr == np.inf:
            return "second_noise is identical to plain: connect a plain run with another seed"
        floor = ", ".join(f"{name} {decibels(self.floor[name].psnr)}" for name in self.regions)
        closer = ", ".join(f"{name} {gain:+.1f} dB" for name, gain in gains.items() if isfinite(gain))
        known = f"two noises of your model differ by {floor}; the accelerated video is closer to plain by {closer}"
        if gains["whole"] >= CLEAR:
            return f"{known}: the same performance with small differences"
        if gains["whole"] >= LITTLE:
            return f"{known}: the same performance with differences that may show"
        return f"{known}: about another performance, as another seed gives; judge it by eye and by the mouth"

    def _sync(self) -> list[str]:
        found = self.follows()
        plain, fast = found.get("plain"), found.get("accelerated")
        if plain is None or self.regions["whole"].psnr == np.inf:
            return []
        if plain.correlation < UNRELATED:
            return [f"the plain video's mouth hardly follows the sound ({plain.correlation:.2f}): it tells nothing of lips"]
        if fast is None:
            return ["the accelerated video's mouth does not move"]
        told = f"{fast.correlation:.3f} beside {plain.correlation:.3f}"
        late = f", and comes {counted(abs(fast.lag - plain.lag), 'frame')} {'later' if fast.lag > plain.lag else 'earlier'}"
        moved = late if fast.lag != plain.lag else ""
        if fast.correlation < plain.correlation - LOOSE:
            return [f"the mouth follows the sound less well than the plain one ({told}){moved}"]
        return [f"the mouth follows the sound as the plain one does ({told}){moved}"]


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
