"""Long videos: chunks that continue each other share the schedule, or the plan, and nothing else."""

import asyncio
import json
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from tests.host.running import PATIENCE_S
from tests.host.running import run as run_prompt
from tests.host.workflow import node, stem

pytestmark = pytest.mark.host
STEPS = 8
CHUNK = 17  # frames


def cells(report) -> str:
    return "".join(step.action[0] for step in report.steps)


@pytest.mark.parametrize("planned", [False, True])
def test_a_chunk_after_others_is_as_by_itself(stage, planned):
    opening, following = stage.conditioning(size=64), stage.conditioning(size=64, motion=True, seed=3)
    given = {}
    if planned:
        execute, ids = stage.execute, stage.comfy.ids
        model, run = execute(ids["SyncCacheCalibrate"], model=stage.model, replays=0)
        latent = {"samples": stage.sample(model, opening)}
        given["plan_json"] = execute(ids["SyncCacheScheduleOptimizer"], run=run, samples=latent, target_speedup=2.0)[0]
    model, run = stage.node(**given)
    chunks = [stage.sample(model, opening), *(stage.sample(model, following, seed=seed) for seed in (2, 3))]
    alone, other = stage.node(**given)
    assert torch.equal(chunks[2], stage.sample(alone, following, seed=3))
    taken = [cells(report) for report in run.reports]
    assert len(taken) == 3 and {*taken} == {cells(other.reports[0])} and "r" in taken[0]


def test_what_a_copy_says_is_shown_on_the_node_that_it_is_a_copy_of(comfy):
    from comfy_execution.graph import DynamicPrompt

    prompt = DynamicPrompt({"5": {}, "9": {}})
    prompt.add_ephemeral_node("9.0.0.1 5", {}, "9", "5")
    prompt.add_ephemeral_node("9.0.0.1 5.0.0.x", {}, "9.0.0.1 5", "9.0.0.1 5")  # by a copy of a node that expands
    for key, shown in (("5", "5"), ("9.0.0.1 5", "5"), ("9.0.0.1 5.0.0.x", "5")):
        assert comfy.text.NodeText(SimpleNamespace(unique_id=key, dynprompt=prompt)).node_id == shown


def looped(server, iterations: int, inside: bool) -> dict:
    """A first chunk, then a loop of others. inside: of SyncCache, too, there is a copy in each pass."""
    prompt = stem(server, STEPS)
    prompt["2"]["inputs"]["length"] = CHUNK
    opening, words = prompt["2"]["inputs"], ("positive", "negative", "vae", "audio_encoder_output", "ref_image")
    prompt["s"] = {"class_type": "StartLoop", "inputs": {
        "mode": "simple", "mode.num_iterations": iterations, "cache_iterations": False, "initial_iteration_value": ["4", 0],
    }}  # fmt: skip
    prompt["3"] = node(server, "SyncCache", model=["1", 0], **({"forecast_order": ["s", 0]} if inside else {}))
    prompt["x"] = {"class_type": "WanSoundImageToVideoExtend", "inputs": {
        **{name: opening[name] for name in words}, "length": CHUNK, "video_latent": ["s", 4]}}
    prompt["4"]["inputs"]["model"] = ["1", 0] if inside else ["3", 0]
    scene = {"positive": ["x", 0], "negative": ["x", 1], "latent_image": ["x", 2], "model": ["3", 0], "seed": ["s", 0]}
    prompt["k"] = {"class_type": "KSampler", "inputs": prompt["4"]["inputs"] | scene}
    joined = {"dim": "t", "samples1": ["s", 4], "samples2": ["k", 0]}
    prompt["j"] = {"class_type": "LatentConcat", "inputs": joined}
    prompt["e"] = {"class_type": "EndLoop", "inputs": {
        "output_value": ["j", 0], "next_iteration_value": ["j", 0], "accumulate": False}}
    prompt["r"] = {"class_type": "SyncCacheReport", "inputs": {"samples": ["e", 0], "run": ["3", 1]}}
    return prompt


def sampled(server, seed=1) -> dict:
    prompt = stem(server, STEPS)
    prompt["3"] = node(server, "SyncCache", model=["1", 0])
    prompt["4"]["inputs"] |= {"model": ["3", 0], "seed": seed}
    prompt["r"] = {"class_type": "SyncCacheReport", "inputs": {"samples": ["4", 0], "run": ["3", 1]}}
    return prompt


def watched(server, prompt: dict) -> list[dict]:
    """Data of all our events, for strips and of texts, until the prompt is done."""
    async def watching():
        import aiohttp  # ComfyUI's own

        found = []
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/ws?clientId=us") as socket:
            queued = server.post("/prompt", {"prompt": prompt, "client_id": "us"})
            async for message in socket:
                told = json.loads(message.data) if message.type == aiohttp.WSMsgType.TEXT else {}
                found += [told["data"]] if told.get("type") == "synccache" else []
                assert told.get("type") != "execution_error", told
                if told.get("type") == "execution_success" and told["data"]["prompt_id"] == queued["prompt_id"]:
                    return found

    return asyncio.run(asyncio.wait_for(watching(), PATIENCE_S))


@pytest.mark.slow
def test_only_who_queued_a_prompt_hears_of_it(server):
    """Another browser would take the run for its own, and its workflow for changed."""
    async def listening():
        import aiohttp

        heard = []
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/ws?clientId=them") as other:
            told = await asyncio.to_thread(watched, server, sampled(server))
            await asyncio.to_thread(run_prompt, server, sampled(server, seed=2))  # nobody's
            with suppress(asyncio.TimeoutError):
                while True:
                    heard.append(await other.receive(timeout=1))
        return told, [message.data for message in heard]

    told, heard = asyncio.run(asyncio.wait_for(listening(), PATIENCE_S))
    assert [event for event in told if "lines" in event] and [event for event in told if "run" in event]
    assert heard and [data for data in heard if isinstance(data, bytes) or '"synccache"' in data] == []


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
def test_a_loop_shows_its_chunks_on_the_node_in_the_graph(server, inside):
    events = watched(server, looped(server, 3, inside))
    assert {event["node"] for event in events if "lines" not in event} == {"3"}
    assert {event["node"] for event in events if "lines" in event} == {"r"}
    ended = [event["run"] for event in events if event.get("run", {}).get("ended")]
    assert [run["number"] for run in ended] == ([1, 1, 1] if inside else [1, 2, 3, 4])
    assert len({run["cells"] for run in ended}) == 1 and len(ended[0]["cells"]) == STEPS and "r" in ended[0]["cells"]
