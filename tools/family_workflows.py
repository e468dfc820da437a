"""The templates of HuMo, of LTX-2 with sound and of MiniMax-H3, and what takes the place of their large files in tests.

`python -m tools.family_workflows` writes their thumbnails; `tools.make_workflows` writes the templates. Facts of the graphs:
ComfyUI's own templates for these models.
"""

from typing import NamedTuple

from tools.workflows.graph import Graph, Node
from tools.workflows.graphs import NEGATIVE, cached, pictures, read_me, sampled
from tools.workflows.stand_ins import asked, paint, replaced

SPOKEN = "A person looks into the camera and speaks, calm and friendly."
SAID = f'{SPOKEN} The person from <Picture 1> says: "Good morning, it is a pleasure to meet you." A quiet room.'
FULL, WORDS = "ltx-2.3-22b-dev-fp8.safetensors", "gemma_3_12B_it_fp4_mixed.safetensors"
FILE_INPUTS = {
    "humo": {"unet_name", "clip_name", "vae_name", "audio_encoder_name"}, "ltx2_talk": {"ckpt_name", "text_encoder"},
    "minimax_h3": {"unet_name", "clip_name", "vae_name"},
}  # fmt: skip
STEPS = 20


def family_workflows() -> list[Graph]:
    return [humo(), ltx2_talk(), minimax_h3()]


def humo() -> Graph:
    g = Graph("humo")
    unet = g.add("UNETLoader", "humo_17B_fp8_e4m3fn.safetensors", "default")
    clip = g.add("CLIPLoader", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan", "default")
    vae = g.add("VAELoader", "wan_2.1_vae.safetensors")
    ear = g.add("AudioEncoderLoader", "whisper_large_v3_fp16.safetensors")
    portrait, sound = g.add("LoadImage", "portrait.png", "image"), g.add("LoadAudio", "speech.wav", None, None)
    words = prompts(g, clip["CLIP"])
    heard = g.add("AudioEncoderEncode", audio_encoder=ear["AUDIO_ENCODER"], audio=sound["AUDIO"])
    model = g.add("ModelSamplingSD3", 8.0, model=unet["MODEL"])
    cache = cached(g, "Balanced", model=model["MODEL"])
    scene = g.add(
        "WanHuMoImageToVideo", 640, 640, 97, 1, positive=words[0]["CONDITIONING"], negative=words[1]["CONDITIONING"],
        vae=vae["VAE"], audio_encoder_output=heard["AUDIO_ENCODER_OUTPUT"], ref_image=portrait["IMAGE"],
    )  # fmt: skip
    sample = sampled(g, cache["model"], scene, 1, STEPS, 5.0, "uni_pc")
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=portrait["IMAGE"])
    decode = g.add("VAEDecode", samples=report["samples"], vae=vae["VAE"])
    film = [decode, g.add("CreateVideo", 25.0, images=decode["IMAGE"], audio=sound["AUDIO"])]
    return laid(g, Parts([unet, clip, vae, ear], [[*words, heard], [portrait, sound]],
                               [[model, cache], [scene, sample]], film, report))  # fmt: skip


def ltx2_talk() -> Graph:
    g = Graph("ltx2_talk")
    loaded = g.add("CheckpointLoaderSimple", FULL)
    clip, hearing = g.add("LTXAVTextEncoderLoader", WORDS, FULL, "default"), g.add("LTXVAudioVAELoader", FULL)
    portrait, sound = g.add("LoadImage", "portrait.png", "image"), g.add("LoadAudio", "speech.wav", None, None)
    words = prompts(g, clip["CLIP"])
    timed = g.add("LTXVConditioning", 24.0, **{title: node["CONDITIONING"] for title, node in zip(SIDES, words)})
    small = g.add("LTXVPreprocess", 18, image=portrait["IMAGE"])
    empty = g.add("EmptyLTXVLatentVideo", 768, 512, 121, 1)
    begun = g.add("LTXVImgToVideoInplace", 1.0, False, vae=loaded["VAE"], image=small["output_image"],
                  latent=empty["LATENT"])  # fmt: skip
    cut = g.add("TrimAudioDuration", 0.0, 5.04, audio=sound["AUDIO"])
    heard = g.add("LTXVAudioVAEEncode", audio=cut["AUDIO"], audio_vae=hearing["Audio VAE"])
    mask = g.add("SolidMask", 0.0, 768, 512, title="0: the voice is kept, 1: the sound is made")
    kept = g.add("SetLatentNoiseMask", samples=heard["Audio Latent"], mask=mask["MASK"])
    both = g.add("LTXVConcatAVLatent", video_latent=begun["latent"], audio_latent=kept["LATENT"])
    cache = cached(g, "Balanced", model=loaded["MODEL"])
    guider = g.add("CFGGuider", 4.0, model=cache["model"], positive=timed["positive"], negative=timed["negative"])
    sigmas = g.add("LTXVScheduler", STEPS, 2.05, 0.95, True, 0.1, latent=both["latent"])
    nodes = advanced(g, guider, sigmas, both["latent"], "euler")
    report = g.add("SyncCacheReport", run=cache["run"], samples=nodes[-1]["output"], image=portrait["IMAGE"])
    apart = g.add("LTXVSeparateAVLatent", av_latent=report["samples"])
    decode = g.add("VAEDecode", samples=apart["video_latent"], vae=loaded["VAE"])
    spoken = g.add("LTXVAudioVAEDecode", samples=apart["audio_latent"], audio_vae=hearing["Audio VAE"])
    film = [apart, decode, spoken, g.add("CreateVideo", 24.0, images=decode["IMAGE"], audio=spoken["Audio"])]
    latent = [small, empty, begun], [cut, heard, mask, kept, both]
    return laid(g, Parts([loaded, clip, hearing], [[*words, timed], [portrait, sound], *latent],
                              [[cache], [guider, sigmas], nodes], film, report))  # fmt: skip


def minimax_h3() -> Graph:
    g = Graph("minimax_h3")
    unet = g.add("UNETLoader", "minimax_h3_fl2va_pruned_int8_convrot.safetensors", "default")
    clip = g.add("CLIPLoader", "qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "minimax", "default")
    vae = g.add("VAELoader", "minimax_h3_video_vae_fp16.safetensors", title="Load VAE · picture")
    hearing = g.add("VAELoader", "minimax_h3_audio_vae_fp32.safetensors", title="Load VAE · sound")
    portrait = g.add("LoadImage", "portrait.png", "image")
    scene = g.add("MiniMaxH3ImageToVideo", SAID, 1344, 768, 124, clip=clip["CLIP"], vae=vae["VAE"],
                  first_frame=portrait["IMAGE"])  # fmt: skip
    cache = cached(g, "Faithful", model=unet["MODEL"])
    guider = g.add("BasicGuider", model=cache["model"], conditioning=scene["positive"])
    sigmas = g.add("BasicScheduler", "simple", STEPS, 1.0, model=cache["model"])
    nodes = advanced(g, guider, sigmas, scene["LATENT"], "res_multistep")
    report = g.add("SyncCacheReport", run=cache["run"], samples=nodes[-1]["output"], image=portrait["IMAGE"])
    decode = g.add("VAEDecode", samples=report["samples"], vae=vae["VAE"])
    spoken = g.add("VAEDecodeAudio", samples=report["samples"], vae=hearing["VAE"])
    film = [decode, spoken, g.add("CreateVideo", 24.0, images=decode["IMAGE"], audio=spoken["AUDIO"])]
    return laid(g, Parts([unet, clip, vae, hearing], [[scene], [portrait]], [[cache], [guider, sigmas], nodes], film,
                             report))  # fmt: skip


SIDES = ("positive", "negative")


def prompts(g: Graph, clip) -> list[Node]:
    return [g.add("CLIPTextEncode", text, title=f"{side.title()} prompt", clip=clip)
            for side, text in zip(SIDES, (SPOKEN, NEGATIVE))]  # fmt: skip


def advanced(g: Graph, guider: Node, sigmas: Node, latent, sampler: str) -> list[Node]:
    """Noise, sampler and the node that samples, last."""
    noise, kind = g.add("RandomNoise", 1, "fixed"), g.add("KSamplerSelect", sampler)
    sample = g.add("SamplerCustomAdvanced", noise=noise["NOISE"], guider=guider["GUIDER"], sampler=kind["SAMPLER"],
                   sigmas=sigmas["SIGMAS"], latent_image=latent)  # fmt: skip
    return [noise, kind, sample]


class Parts(NamedTuple):
    """Nodes of a graph by its frames, in columns where there are several; the last of `film` makes the video."""

    loaders: list[Node]
    given: list[list[Node]]
    sampling: list[list[Node]]
    film: list[Node]
    report: Node


def laid(g: Graph, parts: Parts) -> Graph:
    """With the note, the file of the video and the report's drawings."""
    save = g.add("SaveVideo", f"video/{g.name}", "auto", "auto", video=parts.film[-1]["VIDEO"])
    x = read_me(g, g.name.upper())
    right, _ = g.panel("1 · Models", x, 0, parts.loaders)
    x, _ = g.panel("2 · What is given", right, 0, *parts.given)
    right, y = g.panel("3 · Sample", x, 0, *parts.sampling)
    _, low = g.panel("4 · Video", right, 0, parts.film, [save])
    drawn = pictures(g, parts.report)
    g.panel("5 · What SyncCache did", x, max(y, low), [parts.report], *([one] for one in drawn))
    return g


SMALL = {
    "WanHuMoImageToVideo": {"width": 32, "height": 32, "length": 13},
    "EmptyLTXVLatentVideo": {"width": 128, "height": 128, "length": 25}, "SolidMask": {"width": 128, "height": 128},
    "MiniMaxH3ImageToVideo": {"width": 64, "height": 64, "length": 22},
}  # fmt: skip
# What the outputs of a node of a kind, or of a title, are of the node that stands in; what feeds only these is gone too.
STANDS_IN = {
    "UNETLoader": ("model",), "CheckpointLoaderSimple": ("model", "clip", "vae"), "CLIPLoader": ("clip",),
    "LTXAVTextEncoderLoader": ("clip",), "VAELoader": ("vae",), "LTXVAudioVAELoader": ("vae",),
    "Positive prompt": ("positive",), "Negative prompt": ("negative",), "AudioEncoderEncode": ("heard",),
    "LTXVAudioVAEEncode": ("sound",), "LTXVAudioVAEDecode": ("audio",), "VAEDecodeAudio": ("audio",),
}  # fmt: skip
OUTPUTS = ("model", "clip", "vae", "positive", "negative", "heard", "sound", "audio")
GONE = ("CLIPTextEncode", "AudioEncoderLoader")


def stand_in(name: str, prompt: dict, titles: dict[str, str]) -> dict:
    """A prompt whose models and encoders are one node "FamilyStandIn", in a small size; titles of the nodes, by id."""
    outputs = {kind: [OUTPUTS.index(each) for each in made] for kind, made in STANDS_IN.items()}
    return replaced(prompt, titles, {"class_type": "FamilyStandIn", "inputs": {"family": name}}, outputs, GONE, SMALL)


if __name__ == "__main__":
    asked(__doc__)
    from tests.host.test_family_workflows import prepared

    paint(family_workflows(), prepared, stand_in, "Computed steps of the graph with a tiny model of random weights")
