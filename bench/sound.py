"""What reuse does to models that make picture and sound: SyncCache beside ComfyUI's EasyCache, as many steps computed.

`python -m bench.sound [--models NAME ...] [--speedup 2] [--quick] [--json FILE] [--check]`. Needs a ComfyUI.

ComfyUI's own classes in miniature with random weights, sampled by ComfyUI with and without a cache: 20 Euler steps, guidance
3, several weights and noises. Errors are relative L2 to the uncached latent, of the picture's and the sound's part, at the
end and of what the model took for the result on the way. EasyCache's threshold is bisected until it computes as many steps;
its input is cloned, since in float32 it writes into the sampler's own. Random weights say what is kept apart from what,
and nothing about how a film of a real model looks or sounds.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import SimpleNamespace

import numpy as np
import torch

from demo.comfy_graph import load_nodes
from demo.console import bar
from demo.find_host import find_host

from .fit import bisect
from .harness import finish, parser
from .native import cloned
from .presets import PRESET

CAVEAT = "Random weights in miniature: evidence about the mechanism, never about a real model's picture or sound."
STEPS, GUIDANCE = 20, 3.0
SEEDS = 3
WITHIN, HALVINGS = (1e-4, 10.0), 12
BETTER = 3.0  # by which the sound is to be nearer than EasyCache's
ON_THE_WAY = (0.25, 0.5, 0.75)
LTX_AV = {
    "in_channels": 16, "audio_in_channels": 128, "cross_attention_dim": 64, "audio_cross_attention_dim": 32,
    "attention_head_dim": 16, "audio_attention_head_dim": 8, "num_attention_heads": 4, "audio_num_attention_heads": 4,
    "caption_channels": 32, "num_layers": 13, "connector_attention_head_dim": 8, "connector_num_attention_heads": 2,
    "connector_num_layers": 1, "audio_connector_attention_head_dim": 8, "audio_connector_num_attention_heads": 2,
}  # fmt: skip
H3 = {
    "hidden_size": 64, "num_layers": 13, "token_refiner_num_layers": 1, "num_attention_heads": 3, "attention_head_dim": 24,
    "ffn_hidden_size": 96, "text_dim": 32, "timestep_input_dim": 32, "time_embed_hidden_size": 64, "time_embed_dim": 32,
    "rope_inv_freq_len": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Joint:
    """A model of picture and sound. kind: of ComfyUI's supported models; config: in miniature; shapes: of the latents of
    picture and sound; text: width of a prompt. tokens: of the picture, more than of sound and text.
    reused: cost of a step with reused residuals over a computed one, of the real model (LTX-2: 3.33x at 10 of 40 steps,
    tests/host/test_ltx_av.py; MiniMax-H3: `bench.families`). scale: of the weights, so that what blocks add changes from
    step to step.
    """

    kind: str
    config: dict = field(hash=False)
    shapes: tuple[tuple[int, ...], ...]
    text: int
    tokens: int
    reused: float
    scale: float = 0.08

    def outputs_for(self, computed: int) -> int:
        """Computed steps that cost as much with whole results, of which a reused step costs nothing."""
        return round(computed + (STEPS - computed) * self.reused)


MODELS = {
    "LTX-2": Joint("LTXAV", LTX_AV, ((1, 16, 4, 6, 6), (1, 8, 25, 16)), 64, 4 * 6 * 6, 0.067),
    "MiniMax-H3": Joint("MiniMaxH3", H3, ((1, 24, 7, 8, 8), (1, 32, 2, 37)), 32, 7 * 4 * 4, 0.162, 0.15),
}


class Stage:
    """A joint model with random weights in ComfyUI, and what its sampler needs. seed: of weights, prompt and noise."""

    def __init__(self, joint: Joint, seed: int):
        import comfy.model_patcher
        import comfy.supported_models

        self.joint, self.seed = joint, seed
        made = getattr(comfy.supported_models, joint.kind)(joint.config | {"dtype": torch.float32})
        made.set_inference_dtype(torch.float32, None)
        model, generator = made.get_model({}, "").requires_grad_(False), torch.Generator().manual_seed(seed)
        for name, weight in model.diffusion_model.named_parameters():
            one = weight.ndim == 1 and name.endswith("weight")
            weight.copy_(torch.randn(weight.shape, generator=generator) * joint.scale + one)
        for name, angles in model.diffusion_model.named_buffers():
            if name.endswith("inv_freq"):
                angles.copy_(0.3 ** torch.arange(len(angles)))
        self.model = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
        self.prompt = torch.randn(1, 8, joint.text, generator=generator)

    @cached_property
    def plain(self) -> "Sampled":
        return self.sampled(self.model)

    def sampled(self, model) -> "Sampled":
        """A run of a MODEL; how many of its steps called the first block."""
        import comfy.sample
        from comfy.nested_tensor import NestedTensor

        seen, way = set(), []
        sampling = model.clone()
        sampling.add_wrapper_with_key("diffusion_model", "bench_count", partial(self._count, seen))
        latent = NestedTensor([torch.zeros(shape) for shape in self.joint.shapes])
        prompts = [[[text, {"pooled_output": None}]] for text in (self.prompt, 0 * self.prompt)]
        end = comfy.sample.sample(
            sampling, comfy.sample.prepare_noise(latent, self.seed), STEPS, GUIDANCE, "euler", "simple", *prompts, latent,
            seed=self.seed, disable_pbar=True, callback=lambda step, x0, x, total: way.append(parts(x0, self.joint.shapes)),
        )
        return Sampled(parts(end, self.joint.shapes), way, len(seen))

    def _count(self, seen: set, executor, *args, **kwargs):
        """Innermost: a step that reaches it is computed, as far as its first block tells."""
        options = next((each for each in reversed(args) if isinstance(each, dict)), None) or kwargs["transformer_options"]
        dit, sigma = executor.class_obj, float(options["sigmas"].flatten()[0])
        blocks = getattr(dit, "transformer_blocks", None) or dit.blocks
        hook = blocks[-1].register_forward_pre_hook(partial(self._ran, seen, sigma), with_kwargs=True)
        try:
            return executor(*args, **kwargs)
        finally:
            hook.remove()

    def _ran(self, seen: set, sigma: float, block, args, kwargs) -> None:
        """A last block that runs for the sound alone, or on its rows, is no computed step."""
        some = isinstance(args[0], torch.Tensor) and len(args[0]) < self.joint.tokens
        if (kwargs.get("transformer_options") or {}).get("run_vx", True) and not some:
            seen.add(sigma)


@dataclass
class Sampled:
    """end: [N] of picture and sound. way: the same of what was taken for the result at every step. computed: steps."""

    end: list[torch.Tensor]
    way: list[list[torch.Tensor]]
    computed: int

    def beside(self, plain: "Sampled") -> dict[str, float]:
        """Relative L2 of picture and sound, at the end and on the way."""
        rows = {"sound": relative(self.end[1], plain.end[1]), "picture": relative(self.end[0], plain.end[0])}
        for share in ON_THE_WAY:
            at = round(share * STEPS)
            rows[f"sound at {share:.0%}"] = relative(self.way[at][1], plain.way[at][1])
        return rows


def parts(latent, shapes: Sequence) -> list[torch.Tensor]:
    """[N] each of picture and sound, whether ComfyUI gives them nested or packed."""
    if getattr(latent, "is_nested", False):
        return [part.float().flatten().clone() for part in latent.unbind()]
    sizes = [int(np.prod(shape[1:])) for shape in shapes]
    return [part.float().flatten().clone() for part in latent.reshape(latent.shape[0], -1).split(sizes, dim=-1)]


def relative(values: torch.Tensor, truth: torch.Tensor) -> float:
    return float((values - truth).norm() / truth.norm())


class Bench:
    """The pack as ComfyUI loaded it."""

    def __init__(self):
        package = load_nodes(find_host())["SyncCache"].__module__.rpartition(".nodes.")[0]
        self.pack = SimpleNamespace(
            core=sys.modules[f"{package}.synccache_core"], host=sys.modules[f"{package}.nodes.host"],
            run=sys.modules[f"{package}.nodes.run"], policy=sys.modules[f"{package}.synccache_core.decide.policy"],
        )  # fmt: skip

    def ours(self, stage: Stage, computed: int, level: str) -> Sampled:
        """As without a plan, with so many computed steps."""
        import comfy.samplers

        sigmas = comfy.samplers.calculate_sigmas(stage.model.get_model_object("model_sampling"), "simple", STEPS).tolist()
        bare = self.pack.core.Config(level=level, **PRESET)
        config = replace(bare, schedule=self.pack.policy.fixed_schedule(bare, sigmas, computed, True))
        return stage.sampled(self.pack.host.attach(stage.model, config, None, self.pack.run.RunHandle()))

    def easycache(self, stage: Stage, computed: int) -> Sampled:
        """With the threshold at which it computes as many steps, or nearly."""
        from comfy_extras import nodes_easycache

        runs: dict[float, Sampled] = {}

        def count_at(threshold: float) -> float:
            model = stage.model.clone()
            model.add_wrapper_with_key("diffusion_model", "bench_clone", cloned)
            cached = nodes_easycache.EasyCacheNode.execute(model, threshold, 0.0, (STEPS - 1.5) / STEPS, False).args[0]
            runs[threshold] = stage.sampled(cached)
            return runs[threshold].computed

        return runs[bisect(count_at, computed, HALVINGS, WITHIN)]


def row(bench: Bench, joint: Joint, computed: int, seeds: Sequence[int], way: Callable) -> dict[str, float]:
    """Means over seeds."""
    found = []
    for seed in seeds:
        stage = Stage(joint, seed)
        sampled = way(bench, stage, computed)
        found.append({"computed": sampled.computed} | sampled.beside(stage.plain))
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


WAYS = {
    "SyncCache, residuals": lambda bench, stage, computed: bench.ours(stage, computed, "residual"),
    "SyncCache, outputs": lambda bench, stage, computed: bench.ours(stage, computed, "output"),
    "SyncCache, outputs at that cost": lambda bench, stage, computed: bench.ours(
        stage, stage.joint.outputs_for(computed), "output"),
    "EasyCache of ComfyUI": Bench.easycache,
}


def missed(table: Sequence[dict]) -> Iterator[str]:
    """What falls short of a sound a third as far off, and a picture that is no worse."""
    for model in dict.fromkeys(each["model"] for each in table):
        ours, theirs = (next(r for r in table if r["model"] == model and r["way"].startswith(name))
                        for name in ("SyncCache, residuals", "EasyCache"))  # fmt: skip
        if not ours["sound"] <= theirs["sound"] / BETTER:
            yield f"{model}: the sound is off by {ours['sound']:.3g}, EasyCache's by {theirs['sound']:.3g}"
        if not ours["picture"] <= theirs["picture"]:
            yield f"{model}: the picture is off by {ours['picture']:.3g}, EasyCache's by {theirs['picture']:.3g}"
        if not ours["computed"] <= theirs["computed"] + 0.5:
            yield f"{model}: {ours['computed']:g} steps were computed, EasyCache's {theirs['computed']:g}"


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> int:
    made = parser("bench.sound", __doc__, "one weight and noise instead of three")
    made.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="all without it")
    made.add_argument("--speedup", type=float, default=2.0, help="steps over computed steps (2)")
    options = made.parse_args(argv)
    seeds, computed, bench = range(1 if options.quick else SEEDS), round(STEPS / options.speedup), Bench()
    jobs = [(model, way) for model in options.models for way in WAYS]
    table = [
        {"model": model, "way": way} | row(bench, MODELS[model], computed, seeds, WAYS[way])
        for model, way in bar(jobs, "sound", "way")
    ]
    title = f"{STEPS} Euler steps, relative L2 to the uncached latent, means of {len(seeds)}"
    return finish({title: table}, missed(table), options, CAVEAT)


if __name__ == "__main__":
    sys.exit(main())
