"""One evaluation's place in a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """index: 0, 1, ... position: place on the run's schedule in steps, fractional between two sigmas. expected: evaluations
    that the whole run will take, as far as known. last: no other is expected. move: sigma' - sigma of the step that this
    evaluation is, None where it is not the one evaluation of a step. told: the sigma that the model is told, where some
    sampler tells it another than its own; None = the same.
    """

    index: int
    sigma: float
    position: float
    expected: int = 0
    last: bool = False
    move: float | None = None
    told: float | None = None

    @property
    def seen(self) -> float:
        """The sigma at which the model's result is one."""
        return self.sigma if self.told is None else self.told
