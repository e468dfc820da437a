"""InfiniteTalk in miniature: ComfyUI's own WanModel and its patch with random weights, and the stock node."""

from functools import partial
from types import SimpleNamespace

import torch

from .conftest import Stage, StubVae, save_random
from .doors import host_case, randomised

BLOCKS, WIDTH = 7, 80
CONFIG = {
    "image_model": "wan2.1", "model_type": "t2v", "patch_size": [1, 2, 2], "text_len": 3, "in_dim": 36, "dim": WIDTH,
    "ffn_dim": 96, "freq_dim": 32, "text_dim": 16, "out_dim": 16, "num_heads": 2, "num_layers": BLOCKS, "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6,
}  # fmt: skip
HEARD, CHANNELS = 4, 12  # tokens of a voice per latent frame


def saved(path, kind="t2v") -> str:
    """kind: i2v sees the portrait's CLIP tokens as well, whose embedding costs more than all else of so small a model."""
    import comfy.ldm.wan.model

    return save_random(partial(comfy.ldm.wan.model.WanModel, model_type=kind), CONFIG | {"model_type": kind}, path)


def audio_model():
    """What ModelPatchLoader loads, with as many blocks as the tiny model has."""
    import comfy.ops
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch

    return randomised(
        MultiTalkModelPatch(
            in_dim=WIDTH, out_dim=CHANNELS, intermediate_dim=4, context_tokens=HEARD, num_layers=BLOCKS, device="cpu",
            dtype=torch.float32, operations=comfy.ops.disable_weight_init,
        ),
        scale=0.3,
    ).requires_grad_(False)  # fmt: skip


class TalkStage(Stage):
    """A stage of what the stock node makes: `model` with the patch, and its conditioning; `plain` is without."""

    def __init__(self, comfy, checkpoint: str):
        from comfy.model_patcher import CoreModelPatcher

        super().__init__(comfy, checkpoint)
        self.plain = self.model
        here = torch.device("cpu")
        self.patch = CoreModelPatcher(audio_model(), here, here)
        self.model, self.given = self.talk()

    def talk(self, speakers=1, length=9, size=32, voice=0, before=None, model=None):
        """(MODEL, (positive, negative, latent)) of WanInfiniteTalkToVideo. before: frames of the chunk before this one."""
        generator, heard = torch.Generator().manual_seed(0), torch.Generator().manual_seed(100 + voice)
        text = torch.randn(1, 3, 16, generator=generator)
        seen = SimpleNamespace(penultimate_hidden_states=torch.randn(1, 257, 1280, generator=generator))
        image = torch.rand(1, size, size, 3, generator=generator)
        voices = [
            {"encoded_audio_all_layers": list(torch.randn(13, 1, 80, 768, generator=heard))} for _ in range(speakers)
        ]
        left = torch.zeros(1, size, size)
        left[..., : size // 2] = 1.0
        two = {"audio_encoder_output_2": voices[-1], "mask_1": left, "mask_2": 1 - left}
        mode = {"mode": "two_speakers", **two} if speakers == 2 else {"mode": "single_speaker"}
        out = self.comfy.wan.WanInfiniteTalkToVideo.execute(
            mode, model or self.plain, self.patch, [[text, {}]], [[text * 0, {}]], StubVae(), size, size, length, voices[0],
            5, start_image=image, previous_frames=before, audio_scale=1.0, clip_vision_output=seen,
        ).args  # fmt: skip
        return out[0], out[1:4]

    def conditioning(self, **options):
        return self.given

    def sample(self, model, conditioning=None, **options):
        """Without guidance: with both branches in one pass, ComfyUI's own patch fails."""
        return super().sample(model, conditioning, **{"cfg": 1.0, **options})


def case(stage, speakers=1):
    """For the contract: audio [B, T, tokens of all voices, channels]. ComfyUI's patch takes those of a batch in a row."""
    import comfy.ldm.wan.model as wan
    import comfy.ops
    from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch, MultiTalkGetAttnMapPatch

    settings = {key: value for key, value in CONFIG.items() if key != "image_model"}
    text = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(5))
    patches = {"attn2_patch": [MultiTalkCrossAttnPatch(SimpleNamespace(model=audio_model()))]}
    if speakers == 2:
        patches["attn1_patch"] = [MultiTalkGetAttnMapPatch(torch.tensor([[True, False] * 2, [False, True] * 2]))]

    def make():
        operations = comfy.ops.disable_weight_init
        return randomised(wan.WanModel(**settings, device="cpu", dtype=torch.float32, operations=operations))

    def call(model, x, sigma, audio, options):
        voiced = {"patches": {**patches}, "audio_embeds": audio.reshape(1, -1, *audio.shape[2:])}
        times = torch.full((len(x),), 1000.0 * sigma)
        return model(x, times, text.expand(len(x), -1, -1), transformer_options=options | voiced)

    core, audio = stage.core, (1, 3, HEARD * speakers, CHANNELS)
    voiced = {"patches": patches, "audio_embeds": torch.empty(audio)}
    adapter = core.find(make(), voiced)
    return host_case(stage, make, adapter, core.Grid(3, 2, 2), (1, 36, 3, 4, 4), audio, call, tolerance=1e-4)
