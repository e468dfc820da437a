"""The Human Mask and Compare nodes on people whom no renderer of ours drew; `bench.mask --real` has the whole table.

Runs where the packages that bench/real_people.py names are installed, which nothing here does.
"""

import importlib
import json
import os
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench import real_people
from bench.mask import FIXED, iou

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.real_people]
SPEAKER = real_people.CLIPS["LTX-2.3, a man, zoomed in"]


@pytest.fixture(scope="module")
def package(comfy):
    return comfy.core.__name__.rpartition(".")[0]


@pytest.fixture(autouse=True)
def folders(comfy, tmp_path, monkeypatch):
    import folder_paths

    folder = tmp_path / "segm"
    folder.mkdir()
    shutil.copy(real_people.model(), folder)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ultralytics_segm", ([str(folder)], {".pt"}))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))


def with_id(node):
    return type("WithId", (node,), {"hidden": SimpleNamespace(unique_id="7")})


def test_two_detectors_find_the_same_people(comfy, package):
    node = with_id(comfy.ids["SyncCacheHumanMask"])

    def mask_of(image, **inputs):
        return node.execute(image=image, **{"detector": f"segm/{real_people.MODEL[1]}", **FIXED, **inputs}).args[0]

    alike = {}
    for look in real_people.looks(mask_of, package, quick=True):
        count = len(look.yolo)
        assert real_people.somebody(look.yolo) == real_people.somebody(look.mediapipe) == count, look.name
        alike[look.name] = iou(look.yolo, look.mediapipe.numpy())
        assert "InfiniteTalk" in look.name or look.mouths >= count - 1, look.name
    clips = [alike[name] for name in real_people.CLIPS]
    assert min(alike.values()) >= 0.7 and np.mean(clips) >= real_people.LEAST_IOU, alike


def test_real_lips_are_followed(comfy):
    """A copy two frames late is found to be two frames late, and grain does not move the lips."""
    node = with_id(comfy.ids["SyncCacheCompare"])
    film = real_people.frames(*SPEAKER)[:32]
    late = torch.cat([film[:1], film[:1], film[:-2]])
    grain = (film + 0.02 * torch.randn(film.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    data = json.loads(node.execute(plain=film, accelerated=late, second_noise=grain).args[1])
    lips = data["mouth"]
    assert lips["by"] == "MediaPipe's face landmarks" and data["versions"]["mediapipe"].startswith("0.10")
    curve = np.array(lips["curves"]["plain"])
    assert curve.min() < 0.06 and curve.max() > 0.25, "of the eyes' distance: lips shut, and wide open"
    assert lips["beside_plain"]["accelerated"]["lag_frames"] == 2
    assert lips["beside_plain"]["second_noise"]["lag_frames"] == 0
    assert lips["beside_plain"]["second_noise"]["correlation"] > 0.95


def test_mediapipe_needs_no_network_and_changes_no_settings(package, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was asked for")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    import cv2  # noqa: F401 - which MediaPipe imports, and which puts its own folder into LD_LIBRARY_PATH

    selfie = importlib.import_module(f"{package}.nodes.selfie")
    before = dict(os.environ), torch.get_num_threads(), torch.get_rng_state()
    found = selfie.Outline().find(real_people.frames(*SPEAKER)[:1], 0.35)[0]
    assert 0.2 < float(found.masks.mean()) < 0.8
    assert (dict(os.environ), torch.get_num_threads()) == before[:2] and torch.equal(torch.get_rng_state(), before[2])
