"""The template of InfiniteTalk, and what takes the place of its large files in tests.

`python -m tools.talk_workflows` writes its thumbnail; `tools.make_workflows` writes the template. Facts of the graph:
ComfyUI's own template for InfiniteTalk.
"""

from tools.workflows.graph import KINDS, Graph, Kind, Node
from tools.workflows.graphs import PRESETS, sampled
from tools.workflows.stand_ins import paint, replaced

CONDITIONED = "positive:CONDITIONING negative:CONDITIONING"
KINDS.update({
    "WanInfiniteTalkToVideo": Kind(
        f"model:MODEL model_patch:MODEL_PATCH {CONDITIONED} vae:VAE audio_encoder_output_1:AUDIO_ENCODER_OUTPUT "
        "clip_vision_output:CLIP_VISION_OUTPUT start_image:IMAGE previous_frames:IMAGE",
        f"model:MODEL {CONDITIONED} latent:LATENT trim_image:INT", (340, 380)),
    "ModelPatchLoader": Kind("", "MODEL_PATCH:MODEL_PATCH", (380, 80)),
    "LoraLoaderModelOnly": Kind("model:MODEL", "MODEL:MODEL", (380, 110)),
    "ConditioningZeroOut": Kind("conditioning:CONDITIONING", "CONDITIONING:CONDITIONING", (340, 60)),
    "CLIPVisionLoader": Kind("", "CLIP_VISION:CLIP_VISION", (380, 90)),
    "CLIPVisionEncode": Kind("clip_vision:CLIP_VISION image:IMAGE", "CLIP_VISION_OUTPUT:CLIP_VISION_OUTPUT", (380, 90)),
    "ImageBatch": Kind("image1:IMAGE image2:IMAGE", "IMAGE:IMAGE", (240, 60)),
})  # fmt: skip

TALK = """
## InfiniteTalk with SyncCache
Choose a portrait and a voice, then press **Run**: two chunks of 81 frames at 832×480 and 25 frames a second. The second one
goes on from the last 9 frames of the first, and hears the sound from there.

* The voice enters every block of the model. On a reused step SyncCache adds what runs of blocks had added, and lets the
model hear the voice between the runs.
* **SyncCache** stands behind the node that gives the model its voice, once for every chunk: so it sees what the model is.
* Longer: copy part 4, connect its *previous_frames* to *All frames*, and what follows to the copy's.
* Two people: set **mode** to *two_speakers*. Who speaks where then is looked for on computed steps only.

## What a preset costs
| preset | steps computed | speed, by count |
|---|---|---|
| Faithful | 6 of 12 | 1.9× |
| Balanced | 4 of 12 | 2.7× |
| Fast | 3 of 12, whole results | 4.0× |

With the LoRA the model is made for 6 steps. 12 steps at *Faithful* cost as much as 6.3, at the noise levels of 12: try both,
with the same seed. Nobody has run this on the real model yet.

**cfg** is 1: where prompt and negative prompt are computed in one pass, ComfyUI's own node for InfiniteTalk fails, with
SyncCache as without.

## Memory
Presets keep 16 of 40 residuals, about 10 GiB at this size, in host memory where that is more than a quarter of the GPU's.
**memory_budget_gb** sets a limit; *Custom* goes by **cache_ratio**, where 1 would be 25 GiB.
"""
FILES = """
## Files
Each goes into its folder in ComfyUI's **models** folder.

* **diffusion_models**: Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors
* **loras**: lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors
* **model_patches**: wan2.1_infiniteTalk_single_fp16.safetensors
* **text_encoders**: umt5_xxl_fp8_e4m3fn_scaled.safetensors
* **vae**: Wan2_1_VAE_bf16.safetensors
* **clip_vision**: clip_vision_h.safetensors
* **audio_encoders**: wav2vec2-chinese-base_fp16.safetensors

ComfyUI's own template *InfiniteTalk* says where to get them, and has two speakers. Files of other names will do as well:
choose them in the loaders. The nodes of ComfyUI-WanVideoWrapper for the same model have no place where another pack could
reach their blocks: SyncCache works with ComfyUI's own.
"""
FILE_INPUTS = {"unet_name", "lora_name", "name", "clip_name", "vae_name", "audio_encoder_name"}
EAR = "wav2vec2-chinese-base_fp16.safetensors"
PROMPT = "A person looks into the camera and speaks, calm and friendly."
STEPS = 12


def talk_workflows() -> list[Graph]:
    return [infinite_talk()]


def infinite_talk() -> Graph:
    g = Graph("infinite_talk")
    unet = g.add("UNETLoader", "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors", "default")
    lora = g.add("LoraLoaderModelOnly", "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", 1.0,
                 model=unet["MODEL"])  # fmt: skip
    patch = g.add("ModelPatchLoader", "wan2.1_infiniteTalk_single_fp16.safetensors")
    clip = g.add("CLIPLoader", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan", "default")
    vae = g.add("VAELoader", "Wan2_1_VAE_bf16.safetensors")
    eye, ear = g.add("CLIPVisionLoader", "clip_vision_h.safetensors"), g.add("AudioEncoderLoader", EAR)
    portrait, sound = g.add("LoadImage", "portrait.png", "image"), g.add("LoadAudio", "speech.wav", None, None)
    words = g.add("CLIPTextEncode", PROMPT, title="Prompt", clip=clip["CLIP"])
    nothing = g.add("ConditioningZeroOut", conditioning=words["CONDITIONING"])
    seen = g.add("CLIPVisionEncode", "none", clip_vision=eye["CLIP_VISION"], image=portrait["IMAGE"])
    heard = g.add("AudioEncoderEncode", audio_encoder=ear["AUDIO_ENCODER"], audio=sound["AUDIO"])
    x, _ = g.panel("Read me", 0, 0, *([g.note(text, 430)] for text in (TALK, FILES)))
    right, y = g.panel("1 · Models", x, 0, [unet, lora, patch], [clip, vae, eye, ear])
    right, _ = g.panel("2 · Portrait, voice, words", x, y, [words, nothing, seen, heard], [portrait, sound])
    given = {
        "model": lora["MODEL"], "model_patch": patch["MODEL_PATCH"], "positive": words["CONDITIONING"],
        "negative": nothing["CONDITIONING"], "vae": vae["VAE"], "start_image": portrait["IMAGE"],
        "clip_vision_output": seen["CLIP_VISION_OUTPUT"], "audio_encoder_output_1": heard["AUDIO_ENCODER_OUTPUT"],
    }  # fmt: skip
    first = chunk(g, given, portrait, "first chunk", 1)
    second = chunk(g, {**given, "previous_frames": first[-1]["IMAGE"]}, portrait, "second chunk", 2)
    new = g.add("ImageFromBatch", 9, 4096, title="Without the frames it began with", widget_inputs=["batch_index"],
                image=second[-1]["IMAGE"], batch_index=second[0]["trim_image"])  # fmt: skip
    whole = g.add("ImageBatch", title="All frames", image1=first[-1]["IMAGE"], image2=new["IMAGE"])
    video = g.add("CreateVideo", 25.0, images=whole["IMAGE"], audio=sound["AUDIO"])
    save = g.add("SaveVideo", "video/infinite_talk", "auto", "auto", video=video["VIDEO"])
    edge, y = g.panel("3 · First chunk", right, 0, *columns(g, first))
    low, _ = g.panel("4 · Second chunk", right, y, *columns(g, second))
    g.panel("5 · Video", max(edge, low), 0, [new, whole, video], [save])
    return g


def chunk(g: Graph, given: dict, portrait: Node, title: str, seed: int) -> tuple[Node, ...]:
    """From the voice to the frames of one run: scene, cache, sampler, report, decoder."""
    scene = g.add("WanInfiniteTalkToVideo", "single_speaker", 832, 480, 81, 9, 1.0, **given)
    cache = g.add("SyncCache", "Faithful", *PRESETS["Faithful"], 0.75, -1, -1, "auto", 0.0, "error", "auto", 0.0, "off",
                  model=scene["model"])  # fmt: skip
    sample = sampled(g, cache["model"], scene, seed, STEPS, 1.0, "euler", f"KSampler · {title}")
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=portrait["IMAGE"])
    return scene, cache, sample, report, g.add("VAEDecode", samples=report["samples"], vae=given["vae"])


def columns(g: Graph, made: tuple[Node, ...]) -> list[list[Node]]:
    scene, cache, sample, report, decode = made
    timeline = g.add("PreviewImage", title="Timeline", images=report["timeline"])
    return [[scene], [cache], [sample, decode], [report], [timeline]]


SMALL = {"width": 32, "height": 32, "length": 13}
# What a node of a kind stands in for, by the place of its outputs; each of the others is gone with what it feeds.
STANDS_IN = {"LoraLoaderModelOnly": 0, "ModelPatchLoader": 1, "VAELoader": 2, "CLIPTextEncode": 3, "ConditioningZeroOut": 4,
             "CLIPVisionEncode": 5, "AudioEncoderEncode": 6}  # fmt: skip


def stand_in(name: str, prompt: dict, titles: dict[str, str]) -> dict:
    """A prompt whose models and encoders are one node "TalkStandIn", in a small size; titles of the nodes, by id."""
    gone = {*STANDS_IN, "UNETLoader", "CLIPLoader", "CLIPVisionLoader", "AudioEncoderLoader"}
    kinds = {key: node["class_type"] for key, node in prompt.items()}
    small = {"WanInfiniteTalkToVideo": SMALL}
    return replaced(
        prompt, {"class_type": "TalkStandIn", "inputs": {}}, gone, lambda key, slot: STANDS_IN[kinds[key]],
        lambda key: small.get(kinds[key], {}),
    )  # fmt: skip


if __name__ == "__main__":
    from tests.host.test_talk_workflows import prepared

    paint(talk_workflows(), prepared, stand_in, "Computed steps of the graph with a tiny model of random weights")
