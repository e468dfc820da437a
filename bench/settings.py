"""What `bench.quality` compares at: steps, guidance and sampler, always at shift 8, and the costs that are asked for."""

from dataclasses import dataclass

from demo.sampling import evaluated_at, simple_sigmas
from demo.scene import Settings
from demo.stage import stage
from demo.standalone import Standalone

SHIFT, STEPS = 8.0, 40
COUNTS, TESTED = (16, 12, 10, 8, 6), (10, 8)  # computed steps of STEPS; those that the ablations are made at


@dataclass(frozen=True)
class Setting:
    steps: int = STEPS
    guidance: float = 2.0
    sampler: str = "euler"
    world: str = "tiny"

    @property
    def name(self) -> str:
        world = "" if self.world == "tiny" else f"{self.world}-"
        return f"{world}{self.steps}-cfg{self.guidance:g}-{self.sampler}"

    @property
    def sigmas(self) -> list[float]:
        return simple_sigmas(self.steps, SHIFT)

    @property
    def evaluated(self) -> list[float]:
        """Sigmas [N + 1] at which the sampler calls the model, and the end."""
        return evaluated_at(self.sampler, self.sigmas)

    def count(self, of_forty: int) -> int:
        """As many computed steps as cost `of_forty` of 40."""
        return of_forty * self.steps // STEPS

    def stage(self, number: int, seed: int | None = None) -> Standalone:
        """A clip ready to be sampled; seed: of the noise, None = the clip's number."""
        return stage(number, Settings(self.steps, self.guidance, SHIFT, number if seed is None else seed), self.world)


SETTINGS = {each.name: each for each in (
    Setting(), Setting(guidance=4.5), Setting(sampler="uni_pc"), Setting(steps=20), Setting(guidance=4.5, sampler="uni_pc"),
    Setting(steps=20, guidance=4.5), Setting(steps=20, sampler="uni_pc"), Setting(20, 4.5, "uni_pc"),
)}  # fmt: skip
