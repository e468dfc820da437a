"""Shared workflows for long videos and for comparing; `tools.make_workflows` writes them together with its own."""

from tools.make_workflows import sheet
from tools.workflows.graph import Graph, Node
from tools.workflows.graphs import NOTES, Real, cached, filmed, filmed_real, pictures, real, sampled, staged, talker

CHUNKS = 6
# The noise of a long video's first chunk; the others count up from 0. Of each template its own: ComfyUI would not sample
# again what another has sampled, and the strip and the report would have a run less.
OPENING_SEEDS = {"wan22_s2v_long": 1000, "wan22_s2v_loop": 2000}


def compare() -> Graph:
    g = Graph("compare")
    t, scene = talker(g)
    cache = cached(g, "Balanced", model=t["model"])
    plain = sampled(g, t["model"], scene, title="KSampler · plain")
    fast = sampled(g, cache["model"], scene, title="KSampler · SyncCache")
    other = sampled(g, t["model"], scene, seed=8, title="KSampler · plain, another seed")
    films = [filmed(g, node["LATENT"], t["vae"], t["audio"], f"compare_{name}", f"Save Video · {title}")
             for node, name, title in ((plain, "plain", "plain"), (fast, "synccache", "SyncCache"),
                                       (other, "another_seed", "another seed"))]  # fmt: skip
    empty, face = (g.add("SolidMask", value, w, h, title=title) for value, w, h, title in (
        (0.0, 96, 96, "Empty mask"), (1.0, 50, 60, "Face")))  # fmt: skip
    mask = g.add("MaskComposite", 23, 20, "add", destination=empty["MASK"], source=face["MASK"])
    found = g.add("SyncCacheCompare", 16.0, plain=films[0].frames, accelerated=films[1].frames, mask=mask["MASK"],
                  audio=t["audio"], second_noise=films[2].frames, run=cache["run"], samples=fast["LATENT"])  # fmt: skip
    drawn = [g.add("PreviewImage", title=title, size=(560, height), images=found[output])
             for output, title, height in (("strip", "Strip", 480), ("curves", "Curves", 400),
                                           ("heat_map", "Heat map", 400))]  # fmt: skip
    told = g.add("PreviewAny", title="JSON", source=found["json"])
    x, low = g.panel("1 · Portrait and voice", 0, 0, [g.note(NOTES["COMPARED"])], [t, scene])
    g.panel("2 · A mask of the face", 0, low, [empty, face], [mask])
    right, y = g.panel("3 · Plain", x, 0, [plain], films[0].steps, [films[0].save])
    _, y = g.panel("4 · SyncCache", x, y, [cache], [fast], films[1].steps, [films[1].save])
    edge, _ = g.panel("5 · Plain, another seed", x, y, [other], films[2].steps, [films[2].save])
    g.panel("6 · Compare", max(right, edge) + 400, 0, [found, told], drawn)
    return g


def chunk(g: Graph, r: Real, model, before, number: int, **seed) -> tuple[Node, Node, Node]:
    """A chunk behind the latent `before`: its scene, its sampler, and all chunks until here. seed: an output that gives it,
    where `number` does not.
    """
    scene = staged(g, r, "WanSoundImageToVideoExtend", 77, video_latent=before)
    sample = g.add("KSampler", number, "fixed", 20, 6.0, "uni_pc", "simple", 1.0, model=model, positive=scene["positive"],
                   negative=scene["negative"], latent_image=scene["latent"], widget_inputs=[*seed], **seed)  # fmt: skip
    whole = g.add("LatentConcat", "t", title="All chunks until here", samples1=before, samples2=sample["LATENT"])
    return scene, sample, whole


def started(name: str, note: str) -> tuple[Graph, Real, Node, Node, int]:
    """A graph with its first chunk: SyncCache, the sampler of that chunk, and where the rest starts."""
    g = Graph(name)
    r = real(g, note, "FILES")
    cache = cached(g, "Balanced", model=r.model["MODEL"])
    opening = staged(g, r, "WanSoundImageToVideo", 640, 640, 77, 1)
    first = sampled(g, cache["model"], opening, OPENING_SEEDS[name], 20, 6.0, "uni_pc", "KSampler · first chunk")
    right, _ = g.panel("3 · First chunk", r.right, 0, [r.model, cache], [opening, first])
    return g, r, cache, first, right


def ended(g: Graph, r: Real, cache: Node, latent, x: int, y: int = 0) -> Graph:
    """With the film and the report, from x, y on."""
    report = g.add("SyncCacheReport", run=cache["run"], samples=latent, image=r.portrait["IMAGE"])
    film = filmed_real(g, report["samples"], r, g.name)
    _, low = g.panel("5 · Video", x, y, film.steps, [film.save])
    g.panel("6 · What SyncCache did", x, low, [report], *([node] for node in pictures(g, report)))
    return g


def wan22_s2v_long() -> Graph:
    g, r, cache, first, x = started("wan22_s2v_long", "CHAINED")
    latent, chunks = first["LATENT"], []
    for number in range(CHUNKS - 1):
        chunks.append(chunk(g, r, cache["model"], latent, number))
        latent = chunks[-1][-1]["LATENT"]
    for number, nodes in enumerate(chunks, 2):
        x, _ = g.panel(f"4 · Chunk {number}", x, 0, nodes)
    return ended(g, r, cache, latent, x)


def wan22_s2v_loop() -> Graph:
    g, r, cache, first, x = started("wan22_s2v_loop", "LOOPED")
    start = g.add("StartLoop", "simple", CHUNKS - 1, False, initial_iteration_value=first["LATENT"])
    nodes = chunk(g, r, cache["model"], start["current_iteration_value"], 0, seed=start["iteration_index"])
    end = g.add("EndLoop", False, output_value=nodes[-1]["LATENT"], next_iteration_value=nodes[-1]["LATENT"])
    x, _ = g.panel("4 · The other chunks", x, 0, [start], nodes, [end])
    return ended(g, r, cache, end["outputs"], x)


def more_workflows() -> list[Graph]:
    return [compare(), wan22_s2v_long(), wan22_s2v_loop()]




def upper(picture):
    """Of the strip of SyncCache Compare: heading and frames, without what differs."""
    return picture.crop((0, 0, picture.width, round(0.53 * picture.height)))


THUMBNAILS = {
    "compare": lambda s: sheet("Tiny Talker: frames of both videos", [upper(s.preview("Strip"))]),
    "wan22_s2v_long": lambda s: sheet(
        "The same graph with the Tiny Talker: chunks 1 to 6", s.frames(5, 41, 77), s.frames(113, 149, 185)),
    "wan22_s2v_loop": lambda s: sheet(
        "The same graph with the Tiny Talker: the first chunk, and five by the loop", s.frames(10, 46, 82),
        s.frames(118, 154, 190)),
}  # fmt: skip
