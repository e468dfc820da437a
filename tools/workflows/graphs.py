"""The shared workflows as graphs. Facts of the real one: ComfyUI's own template for Wan2.2-S2V."""

from pathlib import Path
from typing import NamedTuple

from .graph import MUTED, Graph, Node


def texts() -> dict[str, str]:
    """The notes of notes.md by name; {NAME} in one stands for another that comes before it."""
    found: dict[str, str] = {}
    for part in Path(__file__).with_name("notes.md").read_text(encoding="utf-8").split("<!-- ")[1:]:
        name, text = part.split(" -->\n", 1)
        found[name] = text.strip().format(**found)
    return found


NOTES = texts()
POSITIVE = "A person looks into the camera and speaks, calm and friendly."
NEGATIVE = "blurry, overexposed, still picture, low quality, distorted face, distorted hands, subtitles, watermark"
PRESETS = {"Faithful": (2.0, 1.0), "Balanced": (3.0, 1.0), "Fast": (4.0, 1.0), "Paper": (3.75, 0.4)}


def read_me(g: Graph, *notes: str) -> int:
    """Notes by name, as the first frame; where the next one starts."""
    return g.panel("Read me", 0, 0, *([g.note(NOTES[note], 430)] for note in notes))[0]


def cached(g: Graph, preset: str, **sources) -> Node:
    return g.add("SyncCache", preset, *PRESETS[preset], 0.75, -1, -1, "auto", 0.0, "error", "auto", 0.0, "off", **sources)


def sampled(g: Graph, model, scene: Node, seed=7, steps=40, cfg=2.0, sampler="euler", title=None) -> Node:
    return g.add("KSampler", seed, "fixed", steps, cfg, sampler, "simple", 1.0, title=title, model=model,
                 positive=scene["positive"], negative=scene["negative"], latent_image=scene["latent"])  # fmt: skip


def talker(g: Graph) -> tuple[Node, Node]:
    """The Tiny Talker and its scene, in the stock node's smallest size."""
    t = g.add("SyncCacheTinyTalker")
    scene = g.add("WanSoundImageToVideo", 96, 96, 33, 1, positive=t["positive"], negative=t["negative"], vae=t["vae"],
                  audio_encoder_output=t["audio_encoder_output"], ref_image=t["ref_image"])  # fmt: skip
    return t, scene


class Film(NamedTuple):
    """The nodes from a latent to a file; `frames` is the output with the pictures."""

    steps: list[Node]
    save: Node
    frames: tuple


def filmed(g: Graph, samples, vae, audio, name: str, title=None) -> Film:
    decode = g.add("VAEDecode", samples=samples, vae=vae)
    large = g.add("ImageScale", "lanczos", 384, 384, "disabled", image=decode["IMAGE"])
    video = g.add("CreateVideo", 16.0, images=large["IMAGE"], audio=audio)
    save = g.add("SaveVideo", f"video/{name}", "auto", "auto", title=title, video=video["VIDEO"])
    return Film([decode, large, video], save, large["IMAGE"])


def filmed_real(g: Graph, samples, r: "Real", name: str) -> Film:
    """As `filmed`, with the first latent frame doubled and the pictures that this adds cut off."""
    head = g.add("LatentCut", "t", 0, 1, title="First latent frame", samples=samples)
    doubled = g.add("LatentConcat", "t", title="First latent frame twice", samples1=head["LATENT"], samples2=samples)
    decode = g.add("VAEDecode", samples=doubled["LATENT"], vae=r.vae["VAE"])
    rest = g.add("ImageFromBatch", 4, 4096, title="Without the doubled frames", image=decode["IMAGE"])
    video = g.add("CreateVideo", 16.0, images=rest["IMAGE"], audio=r.audio["AUDIO"])
    save = g.add("SaveVideo", f"video/{name}", "auto", "auto", video=video["VIDEO"])
    return Film([head, doubled, decode, rest, video], save, rest["IMAGE"])


def pictures(g: Graph, report: Node) -> list[Node]:
    """Previews of what the report draws."""
    drawn = {"timeline": "Timeline", "heat_map": "Heat map"}
    return [g.add("PreviewImage", title=title, images=report[output]) for output, title in drawn.items()]


def tiny_talker() -> Graph:
    g = Graph("tiny_talker")
    t, scene = talker(g)
    cache = cached(g, "Balanced", model=t["model"])
    plain = sampled(g, t["model"], scene, title="KSampler · plain")
    fast = sampled(g, cache["model"], scene, title="KSampler · SyncCache")
    report = g.add("SyncCacheReport", run=cache["run"], samples=fast["LATENT"], image=t["ref_image"])
    above = filmed(g, plain["LATENT"], t["vae"], t["audio"], "tiny_talker_plain", "Save Video · plain")
    below = filmed(g, report["samples"], t["vae"], t["audio"], "tiny_talker_synccache", "Save Video · SyncCache")
    x, _ = g.panel("1 · Portrait and voice", 0, 0, [g.note(NOTES["TINY_TALKER"])], [t, scene])
    right, y = g.panel("2 · Plain", x, 0, [plain], above.steps, [above.save])
    right, low = g.panel("3 · SyncCache", x, y, [cache], [fast], below.steps, [below.save])
    g.panel("5 · What SyncCache did", x, low, [report], *([node] for node in pictures(g, report)))
    one = [g.add("ImageFromBatch", 16, 1, title=f"One frame · {title}", image=film.frames)
           for film, title in ((above, "plain"), (below, "SyncCache"))]  # fmt: skip
    compare = g.add("ImageCompare", image_a=one[0]["IMAGE"], image_b=one[1]["IMAGE"])
    both = g.add("ImageStitch", "right", True, 0, "white", image1=above.frames, image2=below.frames)
    video = g.add("CreateVideo", 16.0, images=both["IMAGE"], audio=t["audio"])
    save = g.add("SaveVideo", "synccache/tiny_talker_side_by_side", "auto", "auto", title="Save Video · side by side",
                 size=(440, 320), video=video["VIDEO"])  # fmt: skip
    g.panel("4 · Compare", right, 0, [g.note(NOTES["COMPARE"], 280), *one, both, video], [compare, save])
    return g


def calibrate_and_plan() -> Graph:
    g = Graph("calibrate_and_plan")
    t, scene = talker(g)
    calibrate = g.add("SyncCacheCalibrate", 4, 3.0, 1.0, "", model=t["model"])
    first = sampled(g, calibrate["model"], scene, title="KSampler · calibration")
    planner = g.add("SyncCacheScheduleOptimizer", 3.0, 1.0, 0.0, "my plan", "auto", "auto", "auto", 0.75,
                    run=calibrate["run"], samples=first["LATENT"])  # fmt: skip
    keep = g.add("SyncCacheSavePlan", "", "tiny talker", widget_inputs=["plan_json"], plan_json=planner["plan_json"])
    chart = g.add("PreviewImage", title="Chart", size=(400, 300), images=planner["chart"])
    cache = cached(g, "Balanced", model=t["model"], plan_json=planner["plan_json"])
    second = sampled(g, cache["model"], scene, seed=8, title="KSampler · with the plan")
    report = g.add("SyncCacheReport", run=cache["run"], samples=second["LATENT"], image=t["ref_image"])
    film = filmed(g, report["samples"], t["vae"], t["audio"], "tiny_talker_planned")
    x, _ = g.panel("1 · Portrait and voice", 0, 0, [g.note(NOTES["CALIBRATE"])], [t, scene])
    right, y = g.panel("2 · Calibrate: one run without a cache", x, 0, [calibrate], [first])
    edge, _ = g.panel("3 · Plan", x, y, [planner], [keep, chart])
    g.panel("4 · Sample with the plan, another seed", max(right, edge), 0, [g.note(NOTES["PLANNED"], 340), cache],
            [second, report], film.steps, [film.save, *pictures(g, report)])  # fmt: skip
    return g


def human_mask() -> Graph:
    g = Graph("human_mask")
    t, scene = talker(g)
    empty, head, body = (g.add("SolidMask", value, w, h, title=title) for value, w, h, title in (
        (0.0, 96, 96, "Empty mask"), (1.0, 62, 72, "Head"), (1.0, 84, 16, "Shoulders")))  # fmt: skip
    half = g.add("MaskComposite", 17, 10, "add", destination=empty["MASK"], source=head["MASK"])
    drawn = g.add("MaskComposite", 6, 80, "add", destination=half["MASK"], source=body["MASK"])
    mask = g.add("SyncCacheHumanMask", "none", "person, face", 0.35, 0, 6, "none", 2.0, 8, "", image=t["ref_image"],
                 mask=drawn["MASK"])  # fmt: skip
    large = g.add("ImageScale", "lanczos", 384, 384, "disabled", image=mask["overlay"])
    shown = g.add("PreviewImage", title="Overlay", size=(340, 380), images=large["IMAGE"])
    cache = cached(g, "Paper", model=t["model"], human_mask=mask["human_mask"])
    sample = sampled(g, cache["model"], scene)
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=t["ref_image"])
    film = filmed(g, report["samples"], t["vae"], t["audio"], "tiny_talker_masked")
    x, y = g.panel("1 · Portrait and voice", 0, 0, [g.note(NOTES["HUMAN_MASK"])], [t, scene])
    g.panel("2 · A mask of stock nodes", 0, y, [empty, head, body], [half, drawn])
    right, low = g.panel("3 · Human mask", x, 0, [mask], [large, shown, g.note(NOTES["YOLO"], 340)])
    g.panel("4 · Sample", right, 0, [cache], [sample], film.steps, [film.save])
    g.panel("5 · What SyncCache did", x, low, [report], *([node] for node in pictures(g, report)))
    return g


class Real(NamedTuple):
    """What the graphs of the real model have in common; `right`: where their own part starts."""

    portrait: Node
    audio: Node
    vae: Node
    heard: Node
    words: tuple[Node, Node]
    model: Node
    right: int


def real(g: Graph, *notes: str) -> Real:
    """The stock loaders, portrait, voice and words."""
    unet = g.add("UNETLoader", "wan2.2_s2v_14B_fp8_scaled.safetensors", "default")
    clip = g.add("CLIPLoader", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan", "default")
    vae = g.add("VAELoader", "wan_2.1_vae.safetensors")
    ear = g.add("AudioEncoderLoader", "wav2vec2_large_english_fp16.safetensors")
    portrait, audio = g.add("LoadImage", "portrait.png", "image"), g.add("LoadAudio", "speech.wav", None, None)
    words = [g.add("CLIPTextEncode", text, title=title, clip=clip["CLIP"])
             for text, title in ((POSITIVE, "Positive prompt"), (NEGATIVE, "Negative prompt"))]  # fmt: skip
    heard = g.add("AudioEncoderEncode", audio_encoder=ear["AUDIO_ENCODER"], audio=audio["AUDIO"])
    model = g.add("ModelSamplingSD3", 8.0, model=unet["MODEL"])
    x = read_me(g, *notes)
    right, y = g.panel("1 · Models", x, 0, [unet, clip, vae, ear])
    right, _ = g.panel("2 · Portrait, voice, words", x, y, [*words, heard], [portrait, audio])
    return Real(portrait, audio, vae, heard, tuple(words), model, right)


def staged(g: Graph, r: Real, kind: str, *widgets, **sources) -> Node:
    """A stock node that makes the scene of a chunk."""
    positive, negative = (node["CONDITIONING"] for node in r.words)
    return g.add(kind, *widgets, positive=positive, negative=negative, vae=r.vae["VAE"], ref_image=r.portrait["IMAGE"],
                 audio_encoder_output=r.heard["AUDIO_ENCODER_OUTPUT"], **sources)  # fmt: skip


def wan22_s2v(name="wan22_s2v", steps=20, preset="Balanced", planned=False) -> Graph:
    g = Graph(name)
    r = real(g, "FORTY" if planned else "TWENTY", "FILES")
    plan = g.add("SyncCacheLoadPlan", "(no plan saved yet)", mode=MUTED) if planned else None
    cache = cached(g, preset, model=r.model["MODEL"], **({"plan_json": plan["plan_json"]} if plan else {}))
    scene = staged(g, r, "WanSoundImageToVideo", 640, 640, 77, 1)
    sample = sampled(g, cache["model"], scene, 1, steps, 6.0, "uni_pc")
    report = g.add("SyncCacheReport", run=cache["run"], samples=sample["LATENT"], image=r.portrait["IMAGE"])
    film = filmed_real(g, report["samples"], r, name)
    line = [[r.model, cache], [scene, sample]]
    right, y = g.panel("3 · Sample", r.right, 0, *([[plan], *line] if plan else line))
    _, low = g.panel("4 · Video", right, 0, film.steps, [film.save])
    g.panel("5 · What SyncCache did", r.right, max(y, low), [report], *([node] for node in pictures(g, report)))
    return g


def wan22_s2v_extend() -> Graph:
    g = Graph("wan22_s2v_extend")
    r = real(g, "EXTEND", "FILES")
    cache = cached(g, "Balanced", model=r.model["MODEL"])
    opening = staged(g, r, "WanSoundImageToVideo", 640, 640, 77, 1)
    first = sampled(g, cache["model"], opening, 1, 20, 6.0, "uni_pc", "KSampler · first chunk")
    following = staged(g, r, "WanSoundImageToVideoExtend", 77, video_latent=first["LATENT"])
    second = sampled(g, cache["model"], following, 2, 20, 6.0, "uni_pc", "KSampler · second chunk")
    whole = g.add("LatentConcat", "t", title="Both chunks", samples1=first["LATENT"], samples2=second["LATENT"])
    report = g.add("SyncCacheReport", run=cache["run"], samples=whole["LATENT"], image=r.portrait["IMAGE"])
    film = filmed_real(g, report["samples"], r, g.name)
    right, _ = g.panel("3 · First chunk", r.right, 0, [r.model, cache], [opening, first])
    right, y = g.panel("4 · Second chunk", right, 0, [following, second, whole])
    _, low = g.panel("5 · Video", right, 0, film.steps, [film.save])
    g.panel("6 · What SyncCache did", r.right, max(y, low), [report], *([node] for node in pictures(g, report)))
    return g


def workflows() -> dict[str, Graph]:
    from tools.avatar_workflows import avatar_workflows  # here, since these build on this file
    from tools.family_workflows import family_workflows
    from tools.more_workflows import more_workflows
    from tools.talk_workflows import talk_workflows

    made = [
        tiny_talker(), calibrate_and_plan(), human_mask(), wan22_s2v(), wan22_s2v_extend(),
        wan22_s2v("wan22_s2v_40_steps", 40, "Faithful", planned=True),
        *more_workflows(), *avatar_workflows(), *talk_workflows(), *family_workflows(),
    ]  # fmt: skip
    return {graph.name: graph for graph in made}
