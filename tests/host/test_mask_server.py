"""Acceptance of the human mask in a running ComfyUI: picture -> mask -> SyncCache -> sampler, as the editor queues it."""

import shutil

import pytest

from tests.host.running import run
from tests.host.workflow import node, stem

pytestmark = [pytest.mark.host, pytest.mark.slow]
STEPS = 12


def masked(server, **inputs) -> dict:
    """The stem with the portrait's mask (node 70) in SyncCache (71), a report (72), and the overlay as a file (73)."""
    prompt = stem(server, STEPS)
    prompt["70"] = node(server, "SyncCacheHumanMask", image=["1", 5], **inputs)
    prompt["71"] = node(server, "SyncCache", model=["1", 0], human_mask=["70", 0])
    prompt["4"]["inputs"]["model"] = ["71", 0]
    prompt["72"] = node(server, "SyncCacheReport", run=["71", 1], samples=["4", 0])
    prompt["73"] = node(server, "SaveImage", images=["70", 1], filename_prefix="overlay")
    return prompt


def drawn(server) -> dict:
    """A mask of stock nodes: a box of 48 x 64 pixels in a picture of 96."""
    return {
        "60": node(server, "SolidMask", value=0.0, width=96, height=96),
        "61": node(server, "SolidMask", value=1.0, width=48, height=64),
        "62": node(server, "MaskComposite", destination=["60", 0], source=["61", 0], x=24, y=32, operation="add"),
    }


def checked(server, outputs: dict, share: range) -> None:
    """The node showed a picture and how much of it is people, the sampler reused steps, the overlay was written."""
    said = outputs["70"]["text"][0]
    assert said.startswith("one picture, people on ") and int(said.split("%")[0].split()[-1]) in share, said
    shown = outputs["70"]["images"][0]
    assert (server.base / shown["type"] / shown["subfolder"] / shown["filename"]).is_file()
    assert (server.base / "output" / outputs["73"]["images"][0]["filename"]).stat().st_size > 2_000
    told = outputs["72"]["text"][0]
    assert " reused (budget" in told and "weighs all tokens alike" not in told and "stretched" not in told


def test_a_mask_of_stock_nodes_reaches_the_sampler(server):
    prompt = masked(server, mask=["62", 0], motion=0.0) | drawn(server)
    checked(server, run(server, prompt)["outputs"], range(32, 35))  # 48 * 64 / 96 ** 2 is a third


@pytest.mark.detector
def test_a_detector_in_the_models_folder_is_offered_and_finds_the_person(server, trained_detector):
    folder = server.base / "models" / "ultralytics" / "segm"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(trained_detector, folder)
    name = f"segm/{trained_detector.name}"
    offered = server.get("/object_info/SyncCacheHumanMask")["SyncCacheHumanMask"]["input"]["optional"]["detector"]
    assert name in (offered[1].get("options") or offered[0])
    checked(server, run(server, masked(server, detector=name))["outputs"], range(35, 75))
