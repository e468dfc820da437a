"""The model's output after guidance: reuse of whole outputs, and retro-correction of what reuse got wrong.

For a flow model v = (x - denoised) / sigma, and an Euler step moves x by (sigma' - sigma) v. Between computed steps i < j a
gap t of reused steps was given u_t. When y_j is known, the gap can be interpolated, p_t, instead of extrapolated, and

    v_j = y_j + sum_t (sigma_{t+1} - sigma_t) (p_t - u_t) / (sigma_{j+1} - sigma_j)

makes the step from j end where it would have ended had the gap used p_t. This is the corrector of UniPC (arXiv 2302.04867)
for a cache; the formula is ours, and exact for the Euler update only. Anchors stay uncorrected.
"""

import torch

from .forecast import MAX_GAIN, bounded_weights, combine
from .heat import Rows, forecast_error
from .policy import Config
from .samplers import Sampler
from .store import ResidualStore

CORRECTOR_ANCHORS = 2  # computed outputs behind the newest one: a line or a parabola through three points
KEY = ("output", 0)


class Velocities:
    """Outputs of the computed evaluations of one run, newest last, in float32 and owned by nobody else.

    forecast: whether outputs are forecast from here, or only corrected. order: of the forecast. correction: whether
    `computed` returns what to add. All tensors [B, C, T, H, W], or of any shape that stays the same.
    """

    def __init__(self, order: int, forecast: bool, correction: bool, max_gain: float = MAX_GAIN):
        self.correction = correction
        self._near = min(order + 1, CORRECTOR_ANCHORS)
        self._anchors = ResidualStore((order + 1 if forecast else self._near) - 1, max_gain=max_gain)
        self._gap: list[tuple[float, float]] = []
        self._moved: torch.Tensor | None = None
        self._known = True
        self.peak = 0

    @property
    def bytes(self) -> int:
        return self._anchors.bytes + (self._moved.numel() * self._moved.element_size() if self._moved is not None else 0)

    def missing(self, sigma: float, shape: torch.Size | None) -> str | None:
        """Why there is no forecast at this sigma, None where there is one. shape: None = not known yet."""
        anchors = self._anchors.anchors(*KEY)
        if not anchors:
            return "nothing cached"
        at, newest = anchors[-1]
        if shape is not None and shape != newest.shape:
            return "shape changed"
        return "sigma rose" if sigma > at * (1 + 1e-6) else None

    def forecast(self, sigma: float) -> torch.Tensor | None:
        """A new tensor, or None where it is not finite; the anchors are forgotten then."""
        value = self.expected(sigma)
        if torch.isfinite(value).all():
            return value
        self.clear()
        return None

    def expected(self, sigma: float) -> torch.Tensor:
        """A new tensor, finite or not; there must be anchors."""
        return self._anchors.forecast(*KEY, sigma, self._anchors.anchors(*KEY)[-1][1].device)

    def reused(self, sigma: float, move: float | None, velocity: torch.Tensor) -> None:
        """The sampler was given `velocity` at a reused evaluation. move: sigma' - sigma, None = unknown: no correction."""
        if not self.correction:
            return
        if move is None:
            self._known = False
        if self._known:
            self._gap.append((sigma, move))
            self._moved = velocity * move if self._moved is None else self._moved.add_(velocity, alpha=move)
            self.peak = max(self.peak, self.bytes)

    def computed(self, sigma: float, move: float | None, velocity: torch.Tensor, keep: bool) -> torch.Tensor | None:
        """Close the gap and take a true output [float32, nobody else's]; returns what to add to it, None = nothing.

        keep: whether it becomes an anchor.
        """
        anchors = self._anchors.anchors(*KEY)
        alike = bool(anchors) and anchors[-1][1].shape == velocity.shape
        added = self._correction(anchors, sigma, move, velocity) if self._gap and self._known and move and alike else None
        self._gap, self._moved, self._known = [], None, True
        if keep:
            self._anchors.put(*KEY, sigma, velocity)
            self.peak = max(self.peak, self.bytes)
        return added

    def clear(self) -> None:
        self._anchors.clear()
        self._gap, self._moved, self._known = [], None, True

    def _correction(self, anchors: list, sigma: float, move: float, velocity: torch.Tensor) -> torch.Tensor | None:
        """sum_t move_t (p_t - u_t) / move, with p through the newest anchors and (sigma, velocity)."""
        points = [*(a for a in anchors if a[0] > sigma), (sigma, velocity)][-self._near - 1 :]
        total = [0.0] * len(points)
        for at, step in self._gap:
            weights = bounded_weights([s for s, _ in points], at, self._anchors.max_gain)
            for i, weight in enumerate(reversed(weights)):
                total[-1 - i] += step * weight
        return combine([v for _, v in points], total).sub_(self._moved).div_(move)


class Outputs:
    """Between what a sampler is given and the velocities: reuse at level "output", correction at either level.

    sampler: one that makes x anew from denoised and noise has denoised forecast instead of the velocity, which would hold
    the old noise; one that reads the guidance from inside the model call is never spared it.
    """

    def __init__(self, config: Config, sampler: Sampler):
        self.corrects = config.correction and sampler.euler
        self.size = 0
        self._whole = config.level == "output"
        self._budget = config.memory_budget if self._whole else None
        self._kept = config.forecast_order + 1 + self.corrects
        self._sampler = sampler
        self._dtype = torch.float32
        self._path = Velocities(config.forecast_order, self._whole, self.corrects, config.max_gain)

    @classmethod
    def of(cls, config: Config, sampler: Sampler) -> tuple["Outputs | None", list[str]]:
        """None where the settings do not need it, and what a person should know."""
        if config.off:
            return None, []
        made, remarks = cls(config, sampler), []
        if config.correction and not made.corrects:
            remarks.append(f"correction is off: it is exact for euler only, and this run uses {sampler.name}")
        if config.level == "output" and sampler.guidance_inside:
            remarks.append(f"{sampler.name} needs the model at every step: nothing is reused at level output")
        return made if made.corrects or config.level == "output" else None, remarks

    @property
    def peak(self) -> int:
        return self._path.peak

    def missing(self, sigma: float, x: torch.Tensor | None) -> str | None:
        """Why the model must be called, None where it need not."""
        if self._sampler.guidance_inside:
            return "the sampler needs the model"
        return self._path.missing(sigma, None if x is None else x.shape)

    def forecast(self, sigma: float, move: float | None, x: torch.Tensor | None) -> torch.Tensor | None:
        """What the sampler is given instead of the model's output, a new tensor; None where it is not finite."""
        value = self._path.forecast(sigma)
        if value is None:
            return None
        self._path.reused(sigma, move, value)
        return self._given(value, sigma, x)

    def fits(self, out: torch.Tensor) -> bool:
        """Whether the byte budget leaves room for outputs of this size."""
        self.size = out.numel() * 4
        return self._budget is None or self.size * self._kept <= self._budget

    def take(
        self, sigma: float, move: float | None, out: torch.Tensor, x: torch.Tensor | None, reused: bool, keep: bool
    ) -> torch.Tensor | None:
        """Learn from what the model gave; a corrected copy of it, None where it stays as it is."""
        self._dtype = out.dtype
        if sigma <= 0:
            return None
        if reused:
            self._path.reused(sigma, move, self._velocity(out, sigma, x))
            return None
        added = self._path.computed(sigma, move, self._velocity(out, sigma, x), keep)
        if added is None:
            return None
        return (out + (added if x is None else added.mul_(-sigma))).to(out.dtype)

    def off_by(self, sigma: float, out: torch.Tensor, x: torch.Tensor | None) -> Rows:
        """How far a forecast would have been off where the model was called, see `heat.forecast_error`."""
        truth = self._velocity(out, sigma, x)
        if sigma <= 0 or self._path.missing(sigma, truth.shape):
            return ()
        return forecast_error(self._path.expected(sigma), truth)

    def clear(self) -> None:
        self._path.clear()

    def _velocity(self, out: torch.Tensor, sigma: float, x: torch.Tensor | None) -> torch.Tensor:
        """What is forecast, in float32 and of its own."""
        if x is None or self._sampler.renoises:
            return out.detach().to(torch.float32, copy=True)
        return (x.detach().float() - out.detach()).div_(sigma)

    def _given(self, value: torch.Tensor, sigma: float, x: torch.Tensor | None) -> torch.Tensor:
        if x is None or self._sampler.renoises:
            return value.to(self._dtype)
        return torch.add(x, value, alpha=-sigma).to(self._dtype)
