"""What the benches of the talkers compare at: steps, guidance, sampler, shift and world; and the options that they share."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demo.sampling import evaluated_at, simple_sigmas
from demo.scene import Settings
from demo.stage import stage
from demo.standalone import Standalone
from demo.worlds import WORLDS

SHIFT, STEPS = 8.0, 40
CALIBRATION = (100, 101)  # clips that no test uses


@dataclass(frozen=True)
class Setting:
    steps: int = STEPS
    guidance: float = 2.0
    sampler: str = "euler"
    world: str = "tiny"
    shift: float = SHIFT

    @property
    def name(self) -> str:
        """Of files and tables."""
        return self.label if self.world == "tiny" else f"{self.world}-{self.label}"

    @property
    def file(self) -> str:
        """Of what was measured: the wild world's weights may change within a version."""
        return self.name if self.world == "tiny" else f"{self.name}-{WORLDS[self.world].weights:08x}"

    @property
    def label(self) -> str:
        """The same in every world."""
        return f"{self.steps}-cfg{self.guidance:g}-{self.sampler}" + f"-shift{self.shift:g}" * (self.shift != SHIFT)

    @property
    def sigmas(self) -> list[float]:
        return simple_sigmas(self.steps, self.shift)

    @property
    def evaluated(self) -> list[float]:
        """Sigmas [N + 1] at which the sampler calls the model, and the end."""
        return evaluated_at(self.sampler, self.sigmas)

    def stage(self, number: int) -> Standalone:
        """A clip ready to be sampled; its number is the seed of the noise."""
        return stage(number, Settings(self.steps, self.guidance, self.shift, number), self.world)


SETTINGS = {each.label: each for each in (
    Setting(), Setting(guidance=4.5), Setting(sampler="uni_pc"), Setting(steps=20), Setting(guidance=4.5, sampler="uni_pc"),
    Setting(steps=20, guidance=4.5), Setting(steps=20, sampler="uni_pc"), Setting(20, 4.5, "uni_pc"),
    Setting(20, 6.0, "uni_pc"), Setting(20, 6.0, "uni_pc", shift=3.0), Setting(20, 6.0, "uni_pc", shift=5.0),
    Setting(10, 6.0, "uni_pc"), Setting(8, 1.0), Setting(shift=3.0),
)}  # fmt: skip


def filmed(
    made: argparse.ArgumentParser, arguments: Sequence[str] | None, folder: Path, clips: int, few: int
) -> argparse.Namespace:
    """Parsed, with the options of a bench that films and keeps what it measured. few: clips of --quick."""
    made.add_argument("--clips", type=int, help=f"held-out clips (default: {clips})")
    made.add_argument("--folder", type=Path, default=folder, help=f"where what was measured is kept (default: {folder})")
    made.add_argument("--fresh", action="store_true", help="forget what was measured")
    made.add_argument("--world", choices=list(WORLDS), default="tiny", help="whose people are filmed (tiny)")
    options = made.parse_args(arguments)
    options.clips = options.clips or (few if options.quick else clips)
    return options


def setting_in(world: str, label: str) -> Setting:
    return replace(SETTINGS[label], world=world)
