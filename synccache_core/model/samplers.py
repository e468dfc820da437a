"""What a sampler does with the model's output, by the name of its function: the only place that lists names.

Facts of ComfyUI 0.20 to 0.33, comfy/k_diffusion/sampling.py; "ddim" is the function "euler" there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..sentences import say

Response = tuple[tuple[float, ...], ...]  # see `response`
ECHOES = 6  # evaluations over which a multistep sampler is led back to its way: ComfyUI's UniPC, of order 3, needs 5 or 6

# x' = x + (sigma' - sigma) v with one evaluation per step: retro-correction needs to know no more of these.
EULER = ("euler", "ddim", "flow_match_euler")
# Linear in what the model gives, with one evaluation per step and no noise: retro-correction asks for their response.
MULTISTEP = ("uni_pc", "uni_pc_bh2", "dpmpp_2m", "deis", "ipndm", "ipndm_v", "lms")
CORRECTED = say("it works with euler, uni_pc, dpmpp_2m, deis, ipndm and lms")  # retro-correction does, for a person
# These make x anew from denoised and fresh noise at every step. An old velocity holds the old noise, and extrapolating it
# diverges on a mixture of Gaussians; where only part of the noise is fresh ("ancestral", "sde") it is the better forecast.
RENOISING = ("lcm",)
# These add fresh noise at every step: the line through the last two outputs extends that too, and goes wrong.
NOISY = ("ancestral", "sde", "lcm", "seeds", "sa_solver")
# These read the unconditional result inside the model call, and would read an old one where the model is not called.
GUIDANCE_INSIDE = ("cfg_pp", "cfgpp", "euler_pp")  # the last is SamplerEulerCFG++, version "alternative"
# Most evaluations of a step; see `Sampler.per_step` for the steps that take fewer.
EVALUATIONS = {
    "heun": 2, "heunpp2": 3, "dpm_2": 2, "dpm_2_ancestral": 2, "dpmpp_2s_ancestral": 2, "dpmpp_2s_ancestral_cfg_pp": 2,
    "dpmpp_sde": 2, "dpmpp_sde_gpu": 2, "exp_heun_2_x0": 2, "exp_heun_2_x0_sde": 2, "seeds_2": 2, "seeds_3": 3,
    "sa_solver_pece": 2,
}  # fmt: skip
# Sigmas of its own between the first and the last of the schedule; as many evaluations as the schedule has steps.
OFF_GRID = ("dpm_fast",)
# As many evaluations as its error control wants. A reused output would look like a perfect step to it.
ADAPTIVE = ("dpm_adaptive",)
# Frames one after the other, with a model that remembers what it was called with.
REMEMBERING = ("ar_video",)


@dataclass(frozen=True)
class Sampler:
    """name: as in ComfyUI's sampler list. churn: noise is added by an option that the name does not tell. response: of a
    multistep sampler over this run's sigmas, see below; () = not known. foreign: of an extension, which may give a sampler
    the name of another one.
    """

    name: str = "euler"
    churn: bool = False
    response: Response = ()
    foreign: bool = False

    @property
    def euler(self) -> bool:
        return self.name in EULER and not self.churn

    @property
    def multistep(self) -> bool:
        return self.name in MULTISTEP

    @property
    def corrects(self) -> bool:
        """Whether retro-correction works with this sampler."""
        return self.euler or bool(self.response)

    @property
    def could_correct(self) -> bool:
        """The same, by the name alone: for plans, which are made where no sampler is at hand."""
        return self.euler or self.multistep

    @property
    def held_for_correction(self) -> int:
        """Outputs that retro-correction holds, beside what it interpolates from."""
        return ECHOES if self.multistep else 1

    @property
    def renoises(self) -> bool:
        return self.name in RENOISING

    @property
    def first_order(self) -> int:
        """Of a forecast, until this run has shown which is best: a line, or the last value where noise is added."""
        return 0 if self.churn or any(part in self.name for part in NOISY) else 1

    @property
    def guidance_inside(self) -> bool:
        return any(part in self.name for part in GUIDANCE_INSIDE)

    @property
    def why_idle(self) -> str:
        """Why nothing can be reused with this sampler, "" where something can."""
        if self.name in REMEMBERING:
            return say("with {sampler} the model remembers every call", sampler=self.name)
        return say("{sampler} chooses its own steps", sampler=self.name) if self.name in ADAPTIVE else ""

    @property
    def on_grid(self) -> bool:
        """Whether steps begin at the schedule's sigmas."""
        return self.name not in OFF_GRID + ADAPTIVE

    @property
    def counted(self) -> bool:
        """Whether it is known how often it evaluates the model; of others a run finds out, see `Clock`."""
        return self.name in EVALUATIONS and not self.foreign or not self.on_grid

    @property
    def evaluations(self) -> int:
        """Most model evaluations per step; 1 for a sampler that is not listed."""
        return 1 if self.foreign else EVALUATIONS.get(self.name, 1)

    def per_step(self, sigmas: Sequence[float]) -> list[int]:
        """Evaluations of each step of a run over `sigmas` [N + 1]: [N]. A step to sigma 0 takes one, as a rule."""
        steps, most = max(0, len(sigmas) - 1), self.evaluations
        if self.name == "sa_solver_pece" and not self.foreign:  # corrects at the start of a step, once there was one
            return [1, *[most] * (steps - 1)] if steps else []
        if self.name == "heunpp2" and not self.foreign:  # looks two steps ahead, as far as there are two
            return [min(most, steps - step) for step in range(steps)]
        return [most if there > 0 else 1 for there in sigmas[1:]]

    def evaluated(self, sigmas: Sequence[float]) -> list[float]:
        """Sigmas at which a run over `sigmas` [N + 1] evaluates the model, and the end: [E + 1]."""
        return spread(sigmas, self.per_step(sigmas))


def spread(sigmas: Sequence[float], per_step: Sequence[int]) -> list[float]:
    """Sigmas of so many evaluations in each step of a run over `sigmas` [N + 1], and the end: [E + 1].

    Those within a step are put evenly between its sigmas, near enough for choosing which to compute.
    """
    found = []
    for here, there, count in zip(sigmas, sigmas[1:], per_step):
        found += [here + (there - here) * i / count for i in range(count)]
    return [*found, *sigmas[-1:]]


def response(sample: Callable[[Callable, torch.Tensor], torch.Tensor], steps: int) -> Response:
    """How far each output moves a linear sampler, [N + 1][N] for N steps: row k is the position at evaluation k, row N the
    result, column l per unit of the velocity that evaluation l gave. Learnt by running the sampler once on N numbers.

    sample(velocity, x) runs it from x, of 5 dimensions as a latent is, calling velocity(x, sigma) at every evaluation.
    () where it does not call once per step, or is not finite.
    """
    seen: list[torch.Tensor] = []

    def velocity(x: torch.Tensor, _sigma) -> torch.Tensor:
        unit = torch.zeros_like(x)
        unit[..., len(seen) : len(seen) + 1] = 1
        seen.append(x.detach().flatten().clone())
        return unit

    seen.append(sample(velocity, torch.zeros(1, 1, 1, 1, steps)).flatten())
    found = torch.stack(seen) if len(seen) == steps + 1 else torch.tensor(float("nan"))
    return tuple(map(tuple, found.tolist())) if torch.isfinite(found).all() else ()
