"""What `bench.quality` compares at: steps, guidance, sampler and shift, and the costs that are asked for."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from demo.sampling import evaluated_at, simple_sigmas
from demo.scene import Settings
from demo.stage import stage
from demo.standalone import Standalone
from demo.worlds import WORLDS

SHIFT, STEPS = 8.0, 40
COUNTS = {"tiny": (16, 12, 10, 8, 6), "wild": (16, 13, 10, 8, 6)}  # computed steps of STEPS; the paper's 3x is 13
GUIDANCE = {"tiny": 2.0, "wild": 4.5}  # of benches with one setting
TESTED = (10, 8)  # of them, where the ablations are made


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
    def counts(self) -> tuple[int, ...]:
        """The costs that are compared, of 40 steps."""
        return COUNTS[self.world]

    @property
    def sigmas(self) -> list[float]:
        return simple_sigmas(self.steps, self.shift)

    @property
    def evaluated(self) -> list[float]:
        """Sigmas [N + 1] at which the sampler calls the model, and the end."""
        return evaluated_at(self.sampler, self.sigmas)

    def count(self, of_forty: int) -> int:
        """As many computed steps as cost `of_forty` of 40."""
        return of_forty * self.steps // STEPS

    def stage(self, number: int, seed: int | None = None) -> Standalone:
        """A clip ready to be sampled; seed: of the noise, None = the clip's number."""
        return stage(number, Settings(self.steps, self.guidance, self.shift, number if seed is None else seed), self.world)


SETTINGS = {each.label: each for each in (
    Setting(), Setting(guidance=4.5), Setting(sampler="uni_pc"), Setting(steps=20), Setting(guidance=4.5, sampler="uni_pc"),
    Setting(steps=20, guidance=4.5), Setting(steps=20, sampler="uni_pc"), Setting(20, 4.5, "uni_pc"),
    Setting(20, 6.0, "uni_pc"), Setting(shift=3.0),
)}  # fmt: skip
JUDGED = {"tiny": tuple(SETTINGS)[:-1], "wild": ("20-cfg6-uni_pc", "40-cfg4.5-uni_pc", "40-cfg4.5-euler")}


def add_world(made: argparse.ArgumentParser) -> None:
    made.add_argument("--world", choices=list(WORLDS), default="tiny", help="whose people are filmed (tiny)")


def add_kept(made: argparse.ArgumentParser, folder: Path) -> None:
    made.add_argument("--folder", type=Path, default=folder, help=f"where what was measured is kept (default: {folder})")
    made.add_argument("--fresh", action="store_true", help="forget what was measured")


def setting_in(world: str, label: str) -> Setting:
    return replace(SETTINGS[label], world=world)
