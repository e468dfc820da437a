"""The templates of HunyuanVideo-Avatar, for one speaker and for two; what takes the place of their large files in tests.

`python -m tools.avatar_workflows` writes their thumbnails; `tools.make_workflows` writes the templates.
"""

from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from tools.make_workflows import sheet
from tools.workflows.graph import Graph, Node
from tools.workflows.graphs import cached, pictures, read_me
from tools.workflows.stand_ins import asked, paint, replaced

STYLE = "Authentic, Realistic, Natural, High-quality, Lens-Fixed, "
POSITIVE = {1: "A person looks into the camera and speaks.", 2: "Two people sit side by side and talk to each other."}
NEGATIVE = "Aerial view, overexposed, low quality, deformation, bad hands, bad teeth, bad eyes, blurring, distortion"


def avatar_workflows() -> list[Graph]:
    return [hunyuan_avatar("hunyuan_avatar", 1, 3.0), hunyuan_avatar("hunyuan_avatar_two_people", 2, 2.0)]


def hunyuan_avatar(name: str, people: int, enlarge: float) -> Graph:
    g = Graph(name)
    loaders = {
        "model": g.add("SyncCacheAvatarLoader", "mp_rank_00_model_states.pt", "default"),
        "clip": g.add(
            "DualCLIPLoader", "clip_l.safetensors", "llava_llama3_fp8_scaled.safetensors", "hunyuan_video", "default"),
        "vision": g.add("CLIPVisionLoader", "llava_llama3_vision.safetensors"),
        "vae": g.add("VAELoader", "hunyuan_video_vae_bf16.safetensors"),
        "ear": g.add("SyncCacheAvatarAudioEncoder", "whisper-tiny.safetensors"),
    }
    number = [""] if people == 1 else [" 1", " 2"]
    faces = [g.add("LoadImage", "portrait.png", "image", title=f"Portrait, face{n} painted") for n in number]
    sounds = [g.add("LoadAudio", "speech.wav", None, None, title=f"Voice{n}") for n in number]
    seen = g.add("CLIPVisionEncode", "center", clip_vision=loaders["vision"]["CLIP_VISION"], image=faces[0]["IMAGE"])
    words = [
        g.add("SyncCacheAvatarTextEncode", STYLE * (title == "Positive") + text, title=f"{title} prompt",
              clip=loaders["clip"]["CLIP"], clip_vision_output=seen["CLIP_VISION_OUTPUT"])
        for title, text in (("Positive", POSITIVE[people]), ("Negative", NEGATIVE))
    ]  # fmt: skip
    ear = loaders["ear"]["audio_encoder"]
    heard = [g.add("AudioEncoderEncode", audio_encoder=ear, audio=sound["AUDIO"]) for sound in sounds]
    scene = g.add(
        "SyncCacheAvatarConditioning", 704, 768, 129, "25", enlarge, 1, positive=words[0]["conditioning"],
        negative=words[1]["conditioning"], vae=loaders["vae"]["VAE"], ref_image=faces[0]["IMAGE"],
        **{f"audio_encoder_output{n}": node["AUDIO_ENCODER_OUTPUT"] for n, node in zip(("", "_2"), heard)},
        **{f"face_mask{n}": node["MASK"] for n, node in zip(("", "_2"), faces)},
    )  # fmt: skip
    mixed = [g.add("AudioMerge", "add", audio1=sounds[0]["AUDIO"], audio2=sounds[1]["AUDIO"])] if people == 2 else []
    x = read_me(g, name.upper(), "AVATAR_FILES")
    right, y = g.panel("1 · Models", x, 0, list(loaders.values()))
    right, _ = g.panel("2 · Portrait, voice, words", right, 0, [seen, *words, *heard], [*faces, *sounds, *mixed])
    sound = mixed[0] if mixed else sounds[0]
    sample_and_film(g, loaders, faces[0], scene, sound, right)
    return g


def sample_and_film(g: Graph, loaders: dict[str, Node], portrait: Node, scene: Node, sound: Node, x: int) -> None:
    """The parts from the model to the file."""
    cache = cached(g, "Balanced", model=loaders["model"]["model"])
    guider = g.add("SyncCacheAvatarGuider", 7.5, 2.0, 6.5, 3.5, 0.2, 0.6, model=cache["model"], positive=scene["positive"],
                   negative=scene["negative"])  # fmt: skip
    noise, kind = g.add("RandomNoise", 128, "fixed"), g.add("KSamplerSelect", "euler")
    sigmas = g.add("BasicScheduler", "simple", 50, 1.0, model=cache["model"])
    sample = g.add(
        "SamplerCustomAdvanced", noise=noise["NOISE"], guider=guider["guider"], sampler=kind["SAMPLER"],
        sigmas=sigmas["SIGMAS"], latent_image=scene["latent"],
    )  # fmt: skip
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["output"], image=portrait["IMAGE"])
    decode = g.add("VAEDecode", samples=report["samples"], vae=loaders["vae"]["VAE"])
    video = g.add("CreateVideo", 25.0, images=decode["IMAGE"], audio=sound["AUDIO"])
    save = g.add("SaveVideo", f"synccache/{g.name}", "auto", "auto", video=video["VIDEO"])
    right, y = g.panel("3 · Sample", x, 0, [scene, cache], [guider, noise, kind, sigmas, sample])
    _, low = g.panel("4 · Video", right, 0, [decode, video], [save])
    g.panel("5 · What SyncCache did", x, max(y, low), [report], *([node] for node in pictures(g, report)))


FILE_INPUTS = {"model_name", "clip_name1", "clip_name2", "clip_name", "vae_name", "audio_encoder_name"}
PAINTED = {f"Portrait, face {n} painted": f"portrait{n}.png" for n in (1, 2)}  # two people in one picture
SMALL = {"SyncCacheAvatarConditioning": {"width": 96, "height": 64, "length": 9}, "BasicScheduler": {"steps": 12},
         **{title: {"image": file} for title, file in PAINTED.items()}}  # fmt: skip
STANDS_IN = {"VAELoader": [0], "Positive prompt": [1], "Negative prompt": [2]}
GONE = ("DualCLIPLoader", "CLIPVisionLoader", "CLIPVisionEncode", "SyncCacheAvatarTextEncode")


def stand_in(name: str, prompt: dict, titles: dict[str, str]) -> dict:
    """A prompt whose text encoders and VAE are one node "AvatarStandIn", in a small size; titles of the nodes, by id."""
    return replaced(prompt, titles, {"class_type": "AvatarStandIn", "inputs": {}}, STANDS_IN, GONE, SMALL)


def faces(show) -> list[Image.Image]:
    files = PAINTED.values() if show.graph.name.endswith("two_people") else ["portrait.png"]
    return [sheet("", *([boxed(show.base / "input" / name)] for name in files), width=384, foot=0)]


def boxed(path: Path) -> Image.Image:
    """A painted portrait with its face framed."""
    with Image.open(path) as painted:
        picture, (left, top, right, bottom) = painted.convert("RGB"), ImageChops.invert(painted.getchannel("A")).getbbox()
    frame = (left, top, right - 1, bottom - 1)
    ImageDraw.Draw(picture).rectangle(frame, outline="#ffcc00", width=max(1, picture.width // 64))
    return picture


if __name__ == "__main__":
    asked(__doc__)
    from tests.host.test_avatar_workflows import prepared

    caption = "Painted faces, and the graph run with a tiny model of random weights"
    paint(avatar_workflows(), prepared, stand_in, caption, faces)
