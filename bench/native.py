"""ComfyUI's own EasyCache and LazyCache, run by ComfyUI in this process, for `bench.parts`.

In float32 ComfyUI hands the sampler's own tensor to the model, and EasyCache adds its cached difference to it in place,
which moves the sample itself. Weights in bfloat16 hide that behind a copy; here the input is cloned before EasyCache sees
it, so that no rounding comes between. Thresholds are bisected on calibration clips by real runs. start_percent and
end_percent keep the rule of all rivals: so many steps at the start, and the last one. Everything is compared with ComfyUI's
own uncached video, decoded by the same decoder as all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from demo.comfy_graph import Comfy
from demo.find_host import find_host
from demo.scene import Settings
from demo.talker import FRAMES, SIZE, negative, positive
from demo.worlds import WORLDS

from .fit import bisect, warm_up
from .harness import held_out_scene
from .metrics import figures
from .rows import Row, costs
from .settings import CALIBRATION, Setting

CACHES = {"EasyCache of ComfyUI": "EasyCacheNode", "LazyCache of ComfyUI": "LazyCacheNode"}
THRESHOLDS, HALVINGS = (1e-3, 10.0), 9


@dataclass
class Native:
    """One clip in ComfyUI. sampler: by ComfyUI's name."""

    setting: Setting
    number: int

    def __post_init__(self):
        self.on = self.setting.stage(self.number)  # before ComfyUI changes where modules are found
        settings = Settings(self.setting.steps, self.setting.guidance, self.setting.shift, self.number)
        self.comfy = Host(find_host(), held_out_scene(self.number, self.setting.world), settings, self.setting.world)
        self.comfy.sampler_name = self.setting.sampler
        self.calls = 0
        block = self.comfy.model.model.diffusion_model.blocks[0]
        block.register_forward_pre_hook(self._count)

    def _count(self, *_) -> None:
        self.calls += 1

    def sample(self, model) -> tuple[torch.Tensor, int]:
        """(latent [1, 16, T, h, w], normalised as the standalone model has it; calls of the model)."""
        self.calls = 0
        raw = self.comfy.sampler(model, self.setting.steps)["samples"]
        return (raw.float() - self.on.talker.mean) / self.on.talker.std, self.calls

    def plain(self) -> tuple[torch.Tensor, int]:
        return self.sample(self.comfy.model)

    def cached(self, row: Row):
        """The MODEL with one of ComfyUI's caches."""
        from comfy_extras import nodes_easycache

        steps, first = self.setting.steps, warm_up(row.count) - 2  # it takes two steps more to know a rate
        model = self.comfy.model.clone()
        if row.name.startswith("EasyCache"):
            model.add_wrapper_with_key("diffusion_model", "bench_clone", cloned)
        between = [max(0.0, (first - 0.5) / steps), (steps - 1.5) / steps]
        return getattr(nodes_easycache, CACHES[row.name]).execute(model, row.threshold, *between, False).args[0]

    def computed(self, calls: int, plain_calls: int) -> float:
        """Computed steps, whether the branches were called together or apart."""
        return calls * self.setting.steps / plain_calls


class Host(Comfy):
    """The demo's graph in ComfyUI, in either world."""

    def __init__(self, folder, scene, settings, world: str = "tiny"):
        self.world = world
        super().__init__(folder, scene, settings)

    def load(self, scene):
        """As the demo loads the Tiny Talker; the Wild Talker by the stock loaders, and its sound as it was prepared."""
        if self.world == "tiny":
            return super().load(scene)
        import comfy.sd
        import comfy.utils
        from node_helpers import conditioning_set_values

        model = comfy.sd.load_diffusion_model(str(WORLDS[self.world].dit))
        weights, metadata = comfy.utils.load_torch_file(str(WORLDS[self.world].vae), return_metadata=True)
        vae = comfy.sd.VAE(sd=weights, metadata=metadata)
        model, = self.call("ModelSamplingSD3", model=model, shift=self.settings.shift)
        texts = {"positive": [[positive(), {}]], "negative": [[negative(), {}]]}
        *branches, latent = self.call("WanSoundImageToVideo", **texts, vae=vae, width=SIZE, height=SIZE, length=FRAMES,
                                      batch_size=1, ref_image=scene.portrait)  # fmt: skip
        heard = [conditioning_set_values(branch, {"audio_embed": scene.audio_embed * share})
                 for branch, share in zip(branches, (1.0, 0.0))]  # fmt: skip
        return model, vae, tuple(heard), latent


def cloned(executor, x: torch.Tensor | list, *args, **kwargs):
    """A wrapper around the model that keeps a cache from writing into what the sampler holds."""
    return executor([part.clone() for part in x] if isinstance(x, list) else x.clone(), *args, **kwargs)


def fitted(job: tuple[Setting, str, int]) -> Row:
    """One of the caches with the threshold at which it computes so many steps. job: setting, cache, computed steps."""
    setting, name, count = job
    clips = [Native(setting, number) for number in CALIBRATION]
    plain = [clip.plain()[1] for clip in clips]

    def row_at(threshold: float) -> Row:
        return Row(name, "native", count, threshold=float(f"{threshold:.6g}"))

    def count_at(threshold: float) -> float:
        row = row_at(threshold)
        return float(np.mean([clip.computed(clip.sample(clip.cached(row))[1], full) for clip, full in zip(clips, plain)]))

    return row_at(bisect(count_at, count, HALVINGS, THRESHOLDS))


def film(job: tuple[Setting, int, Sequence[Row]]) -> dict[str, dict]:
    """{row.key: figures} of ComfyUI's caches on one clip, beside its own uncached video. job: setting, number, rows."""
    setting, number, rows = job
    clip, opening, found = Native(setting, number), held_out_scene(number, setting.world).opening, {}
    latents, full = clip.plain()
    frames = clip.on.decode(latents)
    for row in rows:
        cached, calls = clip.sample(clip.cached(row))
        computed = clip.computed(calls, full)
        near = figures(clip.on.decode(cached), frames, opening, setting.world)
        found[row.key] = costs(computed, computed, computed) | near
    return found
