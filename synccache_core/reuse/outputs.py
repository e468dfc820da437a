"""The model's output after guidance: reuse of whole outputs, and retro-correction of what reuse got wrong (`corrector.py`).

For a flow model v = (x - denoised) / sigma, and an Euler step moves x by (sigma' - sigma) v.
"""

import torch

from ..config import MAX_GAIN, MAX_ORDER, Config
from ..model.samplers import CORRECTED, Response, Sampler
from ..model.tick import Tick
from ..report.heat import Rows, forecast_error
from ..sentences import say
from .backtest import Backtest
from .corrector import CORRECTOR_ANCHORS, EulerCorrector, MultistepCorrector
from .parts import Whole
from .store import ResidualStore

WHOLE = ("output", 0)  # the store's name for outputs


class Velocities:
    """Outputs of the computed evaluations of one run, newest last, in float32 and owned by nobody else.

    forecast: whether outputs are forecast from here, or only corrected. order: of the forecast; backtest: whether lower
    ones are tried, from `first` on. correction: whether `computed` and `reused` return what to add. response: of a sampler
    that is not Euler's. sign: of the way that sigma goes, 1 where video is turned back into noise. All tensors
    [B, C, T, H, W], or of any shape that stays the same.
    """

    def __init__(
        self, order: int, forecast: bool, correction: bool, max_gain: float = MAX_GAIN, response: Response = (),
        backtest: bool = False, first: int = MAX_ORDER, sign: float = -1.0,
    ):
        self._backtest = Backtest(order, first, max_gain, backtest and forecast)
        near = min(order + 1, CORRECTOR_ANCHORS)
        self._anchors = ResidualStore((order + 1 if forecast else near) - 1, max_gain=max_gain)
        made = MultistepCorrector(near, max_gain, response, forecast) if response else EulerCorrector(near, max_gain)
        self._corrector = made if correction else None
        self.peak, self._sign, self._newest = 0, sign, 0.0

    @property
    def bytes(self) -> int:
        return self._anchors.bytes + (self._corrector.bytes if self._corrector else 0)

    @property
    def empty(self) -> bool:
        return not self._anchors.bytes

    def trust(self, share: float) -> None:
        """How much of an extrapolation the next gap takes, see `forecast.stable_trust`."""
        self._anchors.trust = share

    def change(self, sigma: float, velocity: torch.Tensor) -> torch.Tensor | None:
        """[2] on the device: squares of what the newest anchor lacks of `velocity`, per unit of sigma, and of that; None
        where there is no such anchor."""
        newest = self._anchors.anchors(*WHOLE, 0)
        if not newest or newest[0][1].shape != velocity.shape or sigma == self._newest:
            return None
        off = (velocity - newest[0][1]).square().sum() / (sigma - self._newest) ** 2
        return torch.stack([off, velocity.square().sum()])

    def missing(self, sigma: float, shape: torch.Size | None) -> str | None:
        """Why there is no forecast at this sigma, None where there is one. shape: None = not known yet."""
        anchors = self._anchors.anchors(*WHOLE)
        if not anchors:
            return say("nothing cached")
        if shape is not None and shape != anchors[-1][1].shape:
            return say("shape changed")
        at = self._newest
        return say("sigma turned back") if self._sign * (sigma - at) < -1e-6 * abs(at) else None

    def forecast(self, position: float) -> torch.Tensor | None:
        """A new tensor, or None where it is not finite; the anchors are forgotten then."""
        value = self.expected(position)
        if torch.isfinite(value).all():
            return value
        self.clear()
        return None

    def expected(self, position: float) -> torch.Tensor:
        """A new tensor, finite or not; there must be anchors."""
        return self._anchors.forecast(*WHOLE, position, self._anchors.anchors(*WHOLE)[-1][1].device, self._backtest.order)

    def reused(self, tick: Tick, velocity: torch.Tensor) -> torch.Tensor | None:
        """The sampler is about to be given `velocity` at a reused evaluation; returns what to add to it, None = nothing."""
        if self._corrector is None:
            return None
        echo = self._corrector.echo()
        anchors = self._anchors.anchors(*WHOLE, self._backtest.order)
        self._corrector.reused(tick, velocity, anchors, self._anchors.trust)
        self.peak = max(self.peak, self.bytes)
        return echo

    def computed(self, tick: Tick, velocity: torch.Tensor, keep: bool) -> torch.Tensor | None:
        """Close the gap and take a true output [float32, nobody else's]; returns what to add to it, None = nothing.

        keep: whether it becomes an anchor. One of zeros does not: guidance that leaves out a step, as CFG-Zero* does the
        first, says nothing of the steps behind it.
        """
        added, keep = None, keep and bool(velocity.any())
        if self._corrector:
            added = self._correction(tick, velocity)
            if self._corrector.shift is not None:
                velocity = velocity + self._corrector.shift
            self._corrector.forget()
        if keep:
            self._backtest.see(WHOLE, tick.position, velocity)
            self._backtest.decide([float(error) for error in self._backtest.waiting()])
            self._anchors.put(*WHOLE, tick.position, velocity)
            self._newest = tick.sigma
            self.peak = max(self.peak, self.bytes)
        return added

    def clear(self) -> None:
        self._anchors.clear()
        self._backtest.clear()
        if self._corrector:
            self._corrector.clear()

    def _correction(self, tick: Tick, velocity: torch.Tensor) -> torch.Tensor | None:
        anchors, corrector = self._anchors.anchors(*WHOLE), self._corrector
        if anchors and anchors[-1][1].shape != velocity.shape:
            corrector.clear()
            return None
        echo = corrector.echo()
        if not (corrector.open and tick.move and anchors):
            return echo
        closed = corrector.close(tick, velocity, anchors)
        if closed is None or echo is None:
            return echo if closed is None else closed
        return closed.add_(echo)


class Outputs:
    """Between what a sampler is given and the velocities: reuse at level "output", correction at either level. x and results
    are [B, C, T, H, W], or of any shape that stays the same.

    sampler: one that makes x anew from denoised and noise has denoised forecast instead of the velocity, which would hold
    the old noise; one that reads the guidance from inside the model call is never spared it. parts: each is forecast and
    corrected by itself.
    """

    def __init__(self, config: Config, sampler: Sampler, sign: float, parts: Whole | None = None):
        self.corrects = config.correction and sampler.corrects
        self.size = 0
        self._whole = config.level == "output"
        self._budget = config.memory_budget if self._whole else None
        self.held_for_correction = sampler.held_for_correction if self.corrects else 0
        self._kept = config.forecast_order + 1 + self.held_for_correction
        self._sampler = sampler
        self._dtype = torch.float32
        self._parts = parts or Whole()
        self._paths = [
            Velocities(
                config.forecast_order, self._whole, self.corrects, config.max_gain, sampler.response, config.backtest,
                sampler.first_order, sign,
            )
            for _ in range(self._parts.count)
        ]  # fmt: skip

    @classmethod
    def of(
        cls, config: Config, sampler: Sampler, sign: float = -1.0, parts: Whole | None = None
    ) -> tuple["Outputs | None", list[str]]:
        """None where the settings do not need it, and what a person should know. sign: of the way that sigma goes."""
        if config.off:
            return None, []
        made, remarks = cls(config, sampler, sign, parts), []
        if config.correction and not made.corrects and config.schedule is not None:  # a plan was made for another sampler
            remarks.append(say(
                "correction is off: {wanted}; this run uses {sampler}", wanted=CORRECTED, sampler=sampler.name
            ))  # fmt: skip
        if config.level == "output" and sampler.guidance_inside:
            remarks.append(say(
                "{sampler} needs the model at every step: nothing is reused at level output", sampler=sampler.name
            ))  # fmt: skip
        return made if made.corrects or config.level == "output" else None, remarks

    @property
    def peak(self) -> int:
        return sum(path.peak for path in self._paths)

    def rate(self, tick: Tick, out: torch.Tensor, x: torch.Tensor | None) -> float | None:
        """Of change since the newest computed evaluation, as `schedules.evened` takes it; None where it is not known."""
        if tick.sigma <= 0 or self._sampler.renoises:
            return None
        velocities = self._parts.split(self._velocity(out, tick.seen, x))
        found = [path.change(tick.sigma, value) for path, value in zip(self._paths, velocities)]
        if any(value is None for value in found):
            return None
        changed, size = torch.stack(found).sum(0).sqrt().tolist()
        return changed / size if size else None

    def trust(self, share: float, fresh: bool) -> None:
        """How much of an extrapolation the next gap takes, see `forecast.stable_trust`. fresh: of what LIVE evaluations
        compute; else of all that these do not."""
        for path in self._paths[: self._parts.fresh] if fresh else self._paths[self._parts.fresh :]:
            path.trust(share)

    def missing(self, sigma: float, x: torch.Tensor | None) -> str | None:
        """Why the model must be called, None where it need not."""
        if self._sampler.guidance_inside:
            return say("the sampler needs the model")
        if x is None or any(path.empty for path in self._paths):  # where regions are is not known before the first pass
            shapes = [None] * len(self._paths)
        else:
            shapes = [part.shape for part in self._parts.split(x)]
        return next(filter(None, (path.missing(sigma, shape) for path, shape in zip(self._paths, shapes))), None)

    def forecast(self, tick: Tick, x: torch.Tensor | None) -> torch.Tensor | None:
        """What the sampler is given instead of the model's output, a new tensor; None where it is not finite."""
        values = [path.forecast(tick.position) for path in self._paths]
        if any(value is None for value in values):
            self.clear()
            return None
        given = [_reused(path, tick, value) for path, value in zip(self._paths, values)]
        return self._given(self._parts.join(given), tick.seen, x)

    def fits(self, out: torch.Tensor) -> bool:
        """Whether the byte budget leaves room for outputs of this size."""
        self.size = out.numel() * 4
        return self._budget is None or self.size * self._kept <= self._budget

    def take(
        self, tick: Tick, out: torch.Tensor, x: torch.Tensor | None, reused: bool, keep: bool
    ) -> torch.Tensor | None:
        """Learn from what the model gave; a corrected copy of it, None where it stays as it is."""
        self._dtype = out.dtype
        if tick.sigma <= 0:
            return None
        velocities = self._parts.split(self._velocity(out, tick.seen, x))
        if reused:
            added = [path.reused(tick, value) for path, value in zip(self._paths, velocities)]
        else:
            added = [path.computed(tick, value, keep) for path, value in zip(self._paths, velocities)]
        if all(value is None for value in added):
            return None
        change = self._parts.join([torch.zeros_like(v) if more is None else more for more, v in zip(added, velocities)])
        return (out + (change if x is None else change.mul_(-tick.seen))).to(out.dtype)

    def take_live(self, tick: Tick, out: torch.Tensor, x: torch.Tensor | None) -> torch.Tensor | None:
        """Learn from a LIVE evaluation, in which the model computed the first parts only; what the sampler is given, None
        where that is what the model gave.
        """
        if tick.sigma <= 0:
            return None
        velocities, given, fresh = self._parts.split(self._velocity(out, tick.seen, x)), [], self._parts.fresh
        for path, value in zip(self._paths[:fresh], velocities):
            added = path.computed(tick, value, True)
            given.append(value if added is None else value + added)
        for path, value in zip(self._paths[fresh:], velocities[fresh:]):
            forecast = path.forecast(tick.position) if self._whole else None
            given.append(_reused(path, tick, value if forecast is None else forecast))
        return self._given(self._parts.join(given), tick.seen, x)

    def off_by(self, tick: Tick, out: torch.Tensor, x: torch.Tensor | None) -> Rows:
        """How far a forecast of the first part would have been off where the model was called, see `heat.forecast_error`."""
        truth = self._parts.split(self._velocity(out, tick.seen, x))
        if tick.sigma <= 0 or self._paths[0].missing(tick.sigma, truth[0].shape):
            return ()
        expected = [path.expected(tick.position) for path in self._paths]
        return forecast_error(self._parts.picture(expected), self._parts.picture(truth))

    def clear(self) -> None:
        for path in self._paths:
            path.clear()

    def _velocity(self, out: torch.Tensor, sigma: float, x: torch.Tensor | None) -> torch.Tensor:
        """What is forecast, in float32 and of its own."""
        if x is None or self._sampler.renoises:
            return out.detach().to(torch.float32, copy=True)
        return (x.detach().float() - out.detach()).div_(sigma)

    def _given(self, value: torch.Tensor, sigma: float, x: torch.Tensor | None) -> torch.Tensor:
        if x is None or self._sampler.renoises:
            return value.to(self._dtype)
        return torch.add(x, value, alpha=-sigma).to(self._dtype)


def _reused(path: Velocities, tick: Tick, value: torch.Tensor) -> torch.Tensor:
    """What a sampler is given in place of `value`, which may be held: as it is, or corrected."""
    added = path.reused(tick, value)
    return value if added is None else value + added
