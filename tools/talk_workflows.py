"""The template of InfiniteTalk, and what takes the place of its large files in tests.

`python -m tools.talk_workflows` writes its thumbnail; `tools.make_workflows` writes the template. Facts of the graph:
ComfyUI's own template for InfiniteTalk.
"""

from tools.workflows.graph import Graph, Node
from tools.workflows.graphs import cached, read_me, sampled
from tools.workflows.stand_ins import asked, paint, replaced

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
    x = read_me(g, "INFINITE_TALK", "TALK_FILES")
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
    cache = cached(g, "Faithful", model=scene["model"])
    sample = sampled(g, cache["model"], scene, seed, STEPS, 1.0, "euler", f"KSampler · {title}")
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=portrait["IMAGE"])
    return scene, cache, sample, report, g.add("VAEDecode", samples=report["samples"], vae=given["vae"])


def columns(g: Graph, made: tuple[Node, ...]) -> list[list[Node]]:
    scene, cache, sample, report, decode = made
    timeline = g.add("PreviewImage", title="Timeline", images=report["timeline"])
    return [[scene], [cache], [sample, decode], [report], [timeline]]


SMALL = {"width": 32, "height": 32, "length": 13}
STANDS_IN = {"LoraLoaderModelOnly": [0], "ModelPatchLoader": [1], "VAELoader": [2], "CLIPTextEncode": [3],
             "ConditioningZeroOut": [4], "CLIPVisionEncode": [5], "AudioEncoderEncode": [6]}  # fmt: skip
GONE = ("UNETLoader", "CLIPLoader", "CLIPVisionLoader", "AudioEncoderLoader")


def stand_in(name: str, prompt: dict, titles: dict[str, str]) -> dict:
    """A prompt whose models and encoders are one node "TalkStandIn", in a small size; titles of the nodes, by id."""
    node = {"class_type": "TalkStandIn", "inputs": {}}
    return replaced(prompt, titles, node, STANDS_IN, GONE, {"WanInfiniteTalkToVideo": SMALL})


if __name__ == "__main__":
    asked(__doc__)
    from tests.host.test_talk_workflows import prepared

    paint(talk_workflows(), prepared, stand_in, "Computed steps of the graph with a tiny model of random weights")
