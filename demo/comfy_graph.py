"""The demo in ComfyUI: the pack and the stock nodes, called in this process in the order of the shared workflow."""
import asyncio
import contextlib
import json
import time
from types import SimpleNamespace

import torch

from .comfy_host import open_host
from .console import bar
from .find_host import REPO, host_version
from .media import InputError
from .standalone import Take
from .talker import FRAMES, SIZE

# Files of stock nodes that the graph needs, beside nodes.py.
EXTRAS = ("nodes_wan.py", "nodes_model_advanced.py")
WARM_UP_STEPS = 2


class Stopwatch:
    """A PREDICT_NOISE wrapper around everything that a sampler's evaluation does, cache included."""

    def __init__(self, steps, label):
        self.seconds = 0.0
        self.bar = bar(range(steps), label, "step")

    def __call__(self, executor, *args, **kwargs):
        started = time.perf_counter()
        try:
            return executor(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - started
            self.bar.update()


def load_nodes(folder):
    """ComfyUI's table of node classes, with this pack loaded by ComfyUI's own loader."""
    open_host(folder)
    import comfy.utils
    import utils.extra_config  # noqa: F401 - as main.py does: nodes puts comfy/ on the path, whose utils.py would hide it

    import nodes
    comfy.utils.set_progress_bar_enabled(False)  # ours show the label of the run
    wanted = [(REPO, "custom_nodes"), *((folder / "comfy_extras" / name, "comfy_extras") for name in EXTRAS)]
    for path, parent in wanted:
        if not asyncio.run(nodes.load_custom_node(str(path), module_parent=parent)):
            raise InputError(f"ComfyUI could not load {path}; its warning above says why")
    return nodes.NODE_CLASS_MAPPINGS


class Comfy:
    """A backend of the demo; `demo.standalone.Standalone` is the other one."""

    sampler_name = "euler"

    def __init__(self, folder, scene, settings):
        self.title = f"ComfyUI {host_version(folder)} with the pack's own nodes"
        self.settings = settings
        self.nodes = load_nodes(folder)
        self.model, self.vae, self.conditioning, self.latent = self.load(scene)

    def call(self, name, /, **inputs):
        """Execute one node, of either API; returns the tuple of its outputs."""
        node = self.nodes[name]
        with torch.inference_mode():
            if hasattr(node, "PREPARE_CLASS_CLONE"):
                return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs).args
            return getattr(node(), node.FUNCTION)(**inputs)

    def load(self, scene):
        """(MODEL, VAE, (positive, negative), LATENT) from the left part of the graph."""
        audio = {"waveform": scene.sound[None, None], "sample_rate": scene.rate}
        loaded = self.call("SyncCacheTinyTalker", portrait=scene.portrait, audio=audio)
        model, vae, positive, negative, encoded, reference = loaded[:6]
        model, = self.call("ModelSamplingSD3", model=model, shift=self.settings.shift)
        positive, negative, latent = self.call(
            "WanSoundImageToVideo", positive=positive, negative=negative, vae=vae, width=SIZE, height=SIZE,
            length=FRAMES, batch_size=1, audio_encoder_output=encoded, ref_image=reference)
        return model, vae, (positive, negative), latent

    def sampler(self, model, steps):
        """The KSampler node: LATENT."""
        return self.call("KSampler", model=model, seed=self.settings.seed, steps=steps, cfg=self.settings.guidance,
                         sampler_name=self.sampler_name, scheduler="simple", positive=self.conditioning[0],
                         negative=self.conditioning[1], latent_image=self.latent, denoise=1.0)[0]

    def warm_up(self):
        """First calls allocate memory and choose kernels; they would count against whoever runs first."""
        self.sampler(self.model, WARM_UP_STEPS)

    def timed(self, watch):
        """The MODEL with a stopwatch around each evaluation; what is attached later runs inside it."""
        from comfy.patcher_extension import WrappersMP
        model = self.model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "demo", watch)
        return model

    def sample(self, config=None, mask=None, label="plain"):
        """One Take, as Standalone.sample."""
        watch, run = Stopwatch(self.settings.steps, label), None
        model = self.timed(watch)
        if config is not None:
            model, run = self.call("SyncCache", model=model, preset="Custom", target_speedup=config.target_speedup,
                                   cache_ratio=config.cache_ratio, human_mask=mask[None])
        with contextlib.closing(watch.bar):
            samples = self.sampler(model, self.settings.steps)
        return Take(samples["samples"], watch.seconds, self.report(run, samples))

    def report(self, run, samples):
        """The last run in the report node's JSON; None where nothing was attached."""
        if run is None:
            return None
        runs = json.loads(self.call("SyncCacheReport", run=run, samples=samples)[1])["runs"]
        return SimpleNamespace(**runs[-1]) if runs else None

    def decode(self, latents):
        """Latents as the sampler node gives them -> frames [F,H,W,3] in 0..1."""
        return self.call("VAEDecode", vae=self.vae, samples={"samples": latents})[0].numpy()
