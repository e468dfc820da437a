"""What a sampler does with the model's output, by the name of its function: the only place that lists names.

Facts of ComfyUI 0.20 to 0.33, comfy/k_diffusion/sampling.py; "ddim" is the function "euler" there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# x' = x + (sigma' - sigma) v with one evaluation per step: retro-correction is exact for these only.
EULER = ("euler", "ddim", "flow_match_euler")
# These make x anew from denoised and fresh noise at every step. An old velocity holds the old noise, and extrapolating it
# diverges on a mixture of Gaussians; where only part of the noise is fresh ("ancestral", "sde") it is the better forecast.
RENOISING = ("lcm",)
# These read the unconditional result inside the model call, and would read an old one where the model is not called.
GUIDANCE_INSIDE = ("cfg_pp",)
EVALUATIONS = {
    "heun": 2, "heunpp2": 3, "dpm_2": 2, "dpm_2_ancestral": 2, "dpmpp_2s_ancestral": 2, "dpmpp_2s_ancestral_cfg_pp": 2,
    "dpmpp_sde": 2, "dpmpp_sde_gpu": 2, "exp_heun_2_x0": 2, "exp_heun_2_x0_sde": 2, "seeds_2": 2, "seeds_3": 3,
    "sa_solver_pece": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Sampler:
    """name: as in ComfyUI's sampler list. churn: noise is added by an option that the name does not tell."""

    name: str = "euler"
    churn: bool = False

    @property
    def euler(self) -> bool:
        return self.name in EULER and not self.churn

    @property
    def renoises(self) -> bool:
        return self.name in RENOISING

    @property
    def guidance_inside(self) -> bool:
        return any(part in self.name for part in GUIDANCE_INSIDE)

    @property
    def evaluations(self) -> int:
        """Model evaluations per step; 1 for a sampler that is not listed."""
        return EVALUATIONS.get(self.name, 1)

    def evaluated(self, sigmas: Sequence[float]) -> list[float]:
        """Sigmas at which a run over `sigmas` [N + 1] evaluates the model, and the end: [E + 1].

        Evaluations within a step are put evenly between its sigmas, near enough for choosing which to compute. The last
        step, to sigma 0, takes one.
        """
        found = []
        for here, there in zip(sigmas, sigmas[1:]):
            count = self.evaluations if there > 0 else 1
            found += [here + (there - here) * i / count for i in range(count)]
        return [*found, *sigmas[-1:]]
