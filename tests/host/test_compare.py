"""The Compare node as ComfyUI calls it: with and without mask, sound and second noise; what it says, and what it refuses."""

import importlib
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import ROOT

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def pack(comfy):
    """The node's modules as the host imported them."""
    root = comfy.core.__name__.rpartition(".")[0]
    names = ("nodes.compare", "nodes.faces", "nodes.measuring", "synccache_core.errors", "synccache_core.planning.plan")
    return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(f"{root}.{name}") for name in names})


@pytest.fixture(autouse=True)
def no_faces(pack, tmp_path, monkeypatch):
    """Whether MediaPipe is installed must not matter; previews go into a folder of their own."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    monkeypatch.setattr(pack.faces, "landmarker", lambda: None)
    monkeypatch.setattr(pack.faces, "version", lambda: None)


def talking(frames=9, height=32, width=48, late=0):
    """A grey face with a mouth that is dark while it is open, and the opening [frames]."""
    opening = np.clip(np.sin(np.arange(frames) * 1.3), 0, 1)
    video = torch.full((frames, height, width, 3), 0.7)
    for number in range(frames):
        tall = round(6 * opening[max(0, number - late)])
        video[number, height * 2 // 3 : height * 2 // 3 + tall, width // 2 - 4 : width // 2 + 4] = 0.1
    return video, opening


def speech(opening, fps=16, rate=1600):
    samples = torch.from_numpy(np.repeat(opening, rate // fps)).float()[rate // fps // 2 :]
    return {"waveform": samples[None, None].expand(1, 2, -1), "sample_rate": rate}


@pytest.fixture
def run(pack):
    """(**inputs) -> table, data of the JSON, strip, heat map, curves, what the node shows."""

    def execute(**inputs):
        node = type("WithId", (pack.compare.SyncCacheCompare,), {"hidden": SimpleNamespace(unique_id="7")})
        out = node.execute(**inputs)
        table, text, *pictures = out.args
        return SimpleNamespace(table=table, data=json.loads(text), text=text, pictures=pictures, ui=out.ui)

    return execute


def test_two_videos_alone(run):
    plain, _ = talking()
    other = plain.clone()
    other[3] -= 0.1  # 20 dB in one of nine frames
    found = run(plain=plain, accelerated=other)
    whole = found.data["accelerated"]["whole"]
    assert whole["psnr_db"] == pytest.approx(20 + 10 * np.log10(9), abs=0.01) and whole["worst_frame"] == 3
    assert whole["worst_frame_psnr_db"] == pytest.approx(20, abs=0.01) and not whole["identical"]
    assert found.data["accelerated"].keys() == {"whole", "mouth"} and found.data["second_noise"] is None
    assert "| whole | 29.5 dB |" in found.table and "9 frames of 48×32" in found.table
    assert "lower middle of the frame" in found.table and "connect a second plain video" in found.table
    assert all(p.ndim == 4 and p.shape[0] == 1 and p.shape[-1] == 3 and 0 <= p.min() <= p.max() <= 1 for p in found.pictures)
    assert found.ui["text"] == (found.table,) and len(found.ui["images"]) == 3


def test_mask_sound_and_second_noise(run):
    plain, opening = talking()
    second, _ = talking(late=2)
    mask = torch.zeros(16, 24)
    mask[4:, 6:18] = 1.0  # half the video's size
    accelerated = (plain + 0.01).clamp(0, 1)
    found = run(plain=plain, accelerated=accelerated, mask=mask, audio=speech(opening), second_noise=second)
    assert found.data["accelerated"].keys() == found.data["second_noise"].keys() == {"whole", "human", "mouth", "background"}
    assert "two noises of your model differ by whole" in found.table.lower() and "small differences" in found.table
    lips = found.data["mouth"]
    assert lips["with_sound"]["plain"]["correlation"] > 0.99 and lips["with_sound"]["plain"]["lag_frames"] == 0
    assert lips["beside_plain"]["second_noise"]["lag_frames"] == 2 and "lower middle of the mask" in lips["by"]
    assert {name: len(curve) for name, curve in lips["curves"].items()} == dict.fromkeys(
        ("plain", "accelerated", "second_noise", "loudness"), 9
    )
    assert "follows the sound as the plain one does" in found.table
    per_frame = run(plain=plain, accelerated=accelerated, mask=mask.expand(9, -1, -1))
    assert per_frame.data["accelerated"]["human"] == found.data["accelerated"]["human"]


def test_equal_videos_are_identical_and_the_json_has_no_infinity(run):
    plain, opening = talking()
    found = run(plain=plain, accelerated=plain.clone(), audio=speech(opening))
    assert "identical, pixel by pixel" in found.table and "| whole | identical | 1 | identical |" in found.table
    assert "Infinity" not in found.text and "NaN" not in found.text and found.data["accelerated"]["whole"]["identical"]


def test_one_frame_grey_and_alpha(run):
    for channels in (1, 4):
        frame = torch.rand(1, 16, 16, channels)
        assert run(plain=frame, accelerated=frame).data["accelerated"]["whole"]["identical"]
    black, white = torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3)
    assert run(plain=black, accelerated=white).data["accelerated"]["whole"]["psnr_db"] == 0.0
    told = run(plain=torch.rand(2, 16, 16, 3), accelerated=torch.rand(2, 16, 16, 3), mask=torch.zeros(1, 16, 16))
    assert "the mask is empty" in told.table and "human" not in told.data["accelerated"]


def test_videos_that_do_not_fit_are_refused_with_both(run, pack):
    plain, _ = talking()
    for inputs, words in (
        ({"accelerated": plain[:5]}, "plain has 9 frames of 48×32, accelerated has 5 frames of 48×32"),
        ({"accelerated": plain[:, :16]}, "plain has 9 frames of 48×32, accelerated has 9 frames of 48×16"),
        ({"accelerated": plain, "second_noise": plain[:1]}, "second_noise has 1 frame of 48×32"),
        ({"accelerated": plain[0]}, "accelerated must be an IMAGE"),
        ({"accelerated": plain / 0}, "accelerated holds NaN or infinite values"),
        ({"accelerated": plain, "audio": {"waveform": torch.zeros(1, 1, 0), "sample_rate": 16}}, "no sound"),
        ({"accelerated": plain, "audio": {"waveform": 3}}, "audio must be"),
    ):
        with pytest.raises(pack.errors.BadVideo, match=words):
            run(plain=plain, **inputs)
    with pytest.raises(pack.errors.BadMask, match="the mask has 2 frames, the image 9"):
        run(plain=plain, accelerated=plain, mask=torch.ones(2, 32, 48))
    with pytest.raises(ValueError, match="fps must be a number in 1.0..240.0"):
        run(plain=plain, accelerated=plain, fps=0)


def test_a_short_sound_is_told(run):
    plain, opening = talking()
    assert "the sound lasts 0.22 s, the video 0.56 s" in run(plain=plain, accelerated=plain, audio=speech(opening[:4])).table


def test_the_json_says_with_what_settings_but_no_names(run, stage, pack):
    """A plan's note is the name that somebody gave it."""
    model, handle = stage.node()
    stage.sample(model)
    plan = json.loads(max((ROOT / "tests" / "core" / "plans").glob("*.json")).read_text())
    plan["provenance"]["note"] = "Anna's secret film"
    plain, _ = talking()
    found = run(plain=plain, accelerated=plain, run=handle, plan_json=json.dumps(plan))
    (made,) = found.data["settings"]
    assert len(made["steps"]) == 12 and made["computed"] + made["reused"] == 12 and made["config"]["target_speedup"] == 2.0
    assert found.data["plan"]["schedule"] == plan["schedule"] and "sketch" not in found.data["plan"]
    assert found.data["versions"].keys() == {"synccache", "comfyui", "torch", "python", "device", "mediapipe"}
    assert not any(part in found.text for part in ("Anna", "/", "\\\\"))
    with pytest.raises(pack.plan.BadInput):
        run(plain=plain, accelerated=plain, plan_json="no plan")


def test_settings_are_of_the_run_that_made_the_latent(run, stage, monkeypatch):
    """The host keeps the latent of 12 steps while 9 steps are sampled with another seed."""
    model, handle = stage.node()
    kept = []
    for number, steps in enumerate((12, 9)):
        context = SimpleNamespace(prompt_id=str(number))
        monkeypatch.setattr(stage.comfy.run, "get_executing_context", lambda context=context: context)
        kept.append({"samples": stage.sample(model, steps=steps, seed=number)})
    plain, _ = talking()
    for samples, steps in ((kept[0], 12), (kept[1], 9), (None, 9)):
        found = run(plain=plain, accelerated=plain, run=handle, samples=samples)
        assert [len(made["steps"]) for made in found.data["settings"]] == [steps] and "newest run" not in found.table
    strange = {"samples": kept[0]["samples"] + 1}
    assert "so the newest run is described" in run(plain=plain, accelerated=plain, run=handle, samples=strange).table
    assert run(plain=plain, accelerated=plain, samples=strange).data["settings"] is None


class FakeMesh:
    """Finds a mouth whose height is written into the frame's first pixel; none where that is black."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def process(self, picture):
        if picture[0, 0, 0] == 0:
            return SimpleNamespace(multi_face_landmarks=None)
        tall = picture[0, 0, 0] / 255 / 4
        points = np.zeros((468, 2)) + (0.5, 0.6)
        points[14, 1] = points[17, 1] = 0.6 + tall
        points[[61, 291], 0] = 0.4, 0.6
        points[[33, 263]] = (0.3, 0.3), (0.7, 0.3)
        face = SimpleNamespace(landmark=[SimpleNamespace(x=x, y=y) for x, y in points])
        return SimpleNamespace(multi_face_landmarks=[face])


def test_landmarks_where_mediapipe_is_installed(run, pack, monkeypatch):
    monkeypatch.setattr(pack.faces, "landmarker", FakeMesh)
    monkeypatch.setattr(pack.faces, "version", lambda: "0.10.21")
    plain = torch.full((6, 40, 80, 3), 0.5)
    plain[:, 0, 0] = torch.tensor([0.2, 0.4, 0.0, 0.8, 0.4, 0.2])[:, None]  # the third frame has no face
    found = run(plain=plain, accelerated=plain)
    assert found.data["mouth"]["by"] == "MediaPipe's face landmarks" and found.data["versions"]["mediapipe"] == "0.10.21"
    wanted = np.array([0.2, 0.4, 0.6, 0.8, 0.4, 0.2]) / 4 * 40 / 32  # of the eyes' distance, 0.4 of 80 px
    assert found.data["mouth"]["curves"]["plain"] == pytest.approx(wanted, abs=0.002)
    assert "no face in 1 frames of plain" in found.table
    plain[2:, 0, 0] = 0.0
    found = run(plain=plain, accelerated=plain)
    assert "lower middle of the frame" in found.data["mouth"]["by"] and "MediaPipe finds no face" in found.table


def test_mediapipe_may_be_missing_or_broken(pack, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert pack.faces.landmarker() is None and pack.faces.version() is None
    monkeypatch.setitem(sys.modules, "mediapipe", ModuleType("mediapipe"))  # newer ones have no solutions
    assert pack.faces.landmarker() is None


def test_it_can_be_cancelled(run):
    from comfy import model_management as management

    plain, _ = talking()
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            run(plain=plain, accelerated=plain)
    finally:
        management.interrupt_current_processing(False)


def test_a_long_video_needs_little_memory_of_its_own(pack):
    """Pieces are looked at where they lie: nothing is copied but a few frames."""
    video = torch.rand(9, 16, 16, 3)
    parts = list(pack.measuring.pieces("plain", video))
    assert [len(part) for part in parts] == [4, 4, 1]
    assert all(part.untyped_storage().data_ptr() == video.untyped_storage().data_ptr() for part in parts)
