"""The Human Mask node as ComfyUI calls it: shapes, gaps, cuts, several people, files, and a detector that was trained."""

import importlib
import os
import sys
from types import ModuleType, SimpleNamespace

import numpy
import pytest
import torch

pytestmark = pytest.mark.host
PLAIN = {"motion": 0.0}


@pytest.fixture(scope="module")
def pack(comfy):
    """The node's modules as the host imported them."""
    root = comfy.core.__name__.rpartition(".")[0]
    names = ("nodes.mask", "nodes.detector", "nodes.detector_files", "nodes.selfie", "synccache_core.errors")
    return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(f"{root}.{name}") for name in names})


@pytest.fixture(autouse=True)
def folders(comfy, pack, tmp_path, monkeypatch):
    """Empty detector folders and a temp folder for previews."""
    import folder_paths

    for folder, key in pack.detector_files.KEYS.items():
        path = tmp_path / "ultralytics" / folder
        path.mkdir(parents=True, exist_ok=True)
        monkeypatch.setitem(folder_paths.folder_names_and_paths, key, ([str(path)], {".pt", ".safetensors"}))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "ultralytics"


def square(x: int, size: int = 8) -> torch.Tensor:
    mask = torch.zeros(32, 48)
    mask[12 : 12 + size, x : x + size] = 1.0
    return mask


class Fake:
    """A finder that gives prepared masks, frame by frame; those of `unsure` frames less surely than was asked."""

    def __init__(self, frames: list[list[torch.Tensor]], remark: str = "", unsure=()):
        self.frames, self.remark, self.unsure, self.at = frames, remark, unsure, 0

    def find(self, pictures, confidence):
        from synccache_core.human.people import Found

        numbers = range(self.at, self.at + len(pictures))
        self.at += len(pictures)
        return [
            Found(
                torch.stack(self.frames[n]) if self.frames[n] else torch.zeros(0, 32, 48),
                torch.full((len(self.frames[n]),), n not in self.unsure),
            )
            for n in numbers
        ]


@pytest.fixture
def run(pack, monkeypatch):
    """(image, frames of masks or several such, **inputs) -> mask, overlay, text."""

    def execute(image, *found, **inputs):
        fakes = iter([each if isinstance(each, Fake) else Fake(each) for each in found])
        monkeypatch.setattr(pack.mask, "finder", lambda choice, classes: next(fakes))
        names = dict(zip(("detector", "face_detector"), ("segm/a.pt", "bbox/b.pt")[: len(found)]))
        node = type("WithId", (pack.mask.SyncCacheHumanMask,), {"hidden": SimpleNamespace(unique_id="7")})
        out = node.execute(image=image, **{**PLAIN, **names, **inputs})
        return *out.args, out.ui["text"][0], out.ui["images"]

    return execute


def test_a_portrait_gives_mask_overlay_preview_and_text(run, folders):
    mask, overlay, text, images = run(torch.rand(1, 64, 96, 3), [[square(8)]])
    assert mask.shape == (1, 64, 96) and overlay.shape == (1, 64, 96, 3) and mask[0, 32, 24] == 1.0
    assert text.startswith("one picture, people on 4%") and len(images) == 1
    assert (folders.parent / "temp" / images[0]["filename"]).is_file()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("height, width", [(1, 1), (97, 33), (2160, 3840)])
def test_odd_pictures_work(run, channels, height, width):
    mask, overlay, *_ = run(torch.rand(1, height, width, channels), [[square(0, 20)]])
    assert mask.shape == (1, height, width) and overlay.shape == (1, height, width, 3)


def test_nobody_anywhere_weighs_everything_alike(run):
    mask, _, text, _ = run(torch.rand(3, 32, 48, 3), [[], [], []])
    assert mask.eq(1.0).all() and "nobody in frames 0-2: every pixel is weighed alike" in text
    assert text.startswith("3 frames, people on 0% of the picture")


def test_an_empty_connected_mask_shows_nobody(run):
    mask, _, text, _ = run(torch.rand(1, 32, 48, 3), mask=torch.zeros(1, 32, 48))
    assert mask.eq(1.0).all() and text.startswith("one picture, people on 0% of the picture\nnobody in frame 0")
    half = torch.stack([torch.zeros(32, 48), torch.ones(32, 48)])
    _, _, text, _ = run(torch.rand(1, 32, 48, 3).expand(2, -1, -1, -1), mask=half, hold=0)
    assert text.startswith("2 frames, people on 50% of the picture\nnobody in frame 0")


@pytest.mark.parametrize("found", [(), ([[square(4)]],)], ids=["alone", "joined"])
def test_weights_have_no_say_on_a_connected_mask_which_is_told(run, found):
    said = "the connected mask counts in full, person_weights holds for those whom a detector finds"
    mask, _, text, _ = run(torch.rand(1, 32, 48, 3), *found, mask=square(30)[None], person_weights="0.3")
    assert mask[0, 13, 31] == 1.0 and said in text
    assert all(said not in run(torch.rand(1, 32, 48, 3), mask=square(30)[None], person_weights=w)[2] for w in ("", "1"))
    assert said not in run(torch.rand(1, 32, 48, 3), [[square(4)]], person_weights="0.3")[2]


def test_a_lost_person_is_held_then_weighed_alike_and_both_are_told(run):
    found = [[square(8)]] * 3 + [[]] * 6 + [[square(9)]] * 2
    mask, _, text, images = run(torch.rand(1, 32, 48, 3).expand(11, -1, -1, -1), found, hold=2)
    assert torch.equal(mask[4], square(8)) and mask[5].unique().tolist() == [pytest.approx(64 / (32 * 48))]
    assert torch.equal(mask[7], square(9)) and "next mask held: frames 7-8" in text
    assert "nobody in frames 5-6" in text and "last mask held: frames 3-4" in text and len(images) == 4


def test_a_detector_that_wavers_keeps_whom_it_has_found(run):
    found = [[square(8)], [square(9)], [square(10)], [square(11)], [square(30)]]
    mask, _, text, _ = run(torch.rand(1, 32, 48, 3).expand(5, -1, -1, -1), Fake(found, unsure=(0, 2, 3, 4)), hold=1)
    assert torch.equal(mask[0], square(9)) and "not found yet, next mask held: frame 0" in text
    assert torch.equal(mask[3], square(11)), "it follows"
    assert torch.equal(mask[4], square(11)) and "last mask held: frame 4" in text, "elsewhere it is not the same person"
    mask, _, text, _ = run(torch.rand(1, 32, 48, 3), Fake([[square(8)]], unsure=(0,)))
    assert mask.eq(1.0).all() and "somebody in frame 0, but less surely than the confidence asks" in text


def test_a_camera_cut_ends_the_hold(run):
    image = torch.cat([torch.zeros(3, 32, 48, 3), torch.ones(3, 32, 48, 3)])
    mask, _, text, _ = run(image, [[square(8)]] * 3 + [[], [square(30)], [square(30)]], hold=5)
    assert torch.equal(mask[3], square(30)), "of the shot that it belongs to"
    assert "camera cut before frame 3" in text and "next mask held: frame 3" in text
    mask = run(image, [[square(8)]] * 2 + [[]] + [[]] * 3, hold=0)[0]
    assert all(mask[frame].unique().numel() == 1 for frame in (2, 3, 4, 5))


def test_people_faces_and_weights(run):
    found = [[square(30), square(4)]], [[square(6, 4), square(20, 4)]]
    mask = run(torch.rand(1, 32, 48, 3), *found, person_weights="1, 0.5")[0][0]
    assert mask[13, 5] == 1.0 and mask[13, 22] == 0.5 and mask[13, 31] == 0.5


def test_grow_feather_and_motion_are_pixels_of_the_picture(run):
    image = torch.rand(1, 320, 480, 3)
    area = [run(image, [[square(16)]], **inputs)[0].gt(0.5).sum().item() for inputs in (
        {}, {"grow": 10}, {"grow": -10}, {"motion": 3.0}, {"feather": 8})]  # fmt: skip
    assert area[1] > area[0] > area[2] and area[3] == area[1], "3 % of 320 is 10 pixels"
    assert area[4] == pytest.approx(area[0], rel=0.05)
    assert "widened by 10 px for motion" in run(image, [[square(16)]], motion=3.0)[2]
    assert "motion" not in run(image.expand(2, -1, -1, -1), [[square(16)]] * 2, motion=3.0)[2], "a clip shows it itself"


def test_boxes_are_said_to_be_ellipses(run):
    text = run(torch.rand(1, 32, 48, 3), Fake([[square(8)]], "finds boxes"))[2]
    assert "segm/a.pt: finds boxes" in text


MASKS = [square(8), square(8)[None], square(8).expand(3, -1, -1), square(8).bool(), (square(8) * 255).to(torch.uint8)]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{list(mask.shape)} {mask.dtype}")
def test_a_connected_mask_of_any_rule(run, mask):
    made = run(torch.rand(3, 32, 48, 3), mask=mask)[0]
    assert made.shape == (3, 32, 48) and torch.equal(made[2], square(8))
    assert run(torch.rand(3, 64, 96, 3), mask=mask)[0].shape == (3, 64, 96)


def test_a_mask_and_a_detector_are_joined(run):
    mask = run(torch.rand(1, 32, 48, 3), [[square(30)]], mask=square(8))[0][0]
    assert torch.equal(mask, torch.maximum(square(8), square(30)))


def test_a_mask_that_does_not_fit_is_an_error_with_both_numbers(run, pack):
    with pytest.raises(pack.errors.BadMask, match="mask has 5 frames, the image 3"):
        run(torch.rand(3, 32, 48, 3), mask=torch.ones(5, 32, 48))


def test_nothing_to_go_by_says_what_to_do(run, pack):
    with pytest.raises(pack.errors.BadMask, match="choose a detector, or connect a mask"):
        run(torch.rand(1, 32, 48, 3))


@pytest.mark.parametrize("field, value", [
    ("confidence", float("nan")), ("confidence", 0), ("grow", 10**6), ("grow", 1.5), ("feather", -1), ("motion", 1e9),
    ("hold", "8"), ("hold", True), ("person_weights", "left"), ("person_weights", 1.0),
])  # fmt: skip
def test_values_past_the_widgets_are_refused_by_name(run, pack, field, value):
    with pytest.raises(ValueError, match=field):
        run(torch.rand(1, 32, 48, 3), mask=square(8), **{field: value})


def test_the_mask_is_one_that_synccache_takes(run, comfy):
    found = [[square(8)]] * 9
    mask = run(torch.rand(9, 32, 48, 3), found)[0]
    weights = comfy.core.token_weights(mask, comfy.core.Grid(3, 2, 3))
    pixels = torch.tensor([256.0, 1024.0, 1024.0])
    assert float((weights.view(3, -1).sum(1) * pixels).sum()) == float(mask.sum())


def test_from_image_to_mask_to_synccache_to_sampler(run, stage):
    mask = run(torch.rand(9, 32, 48, 3), [[square(8)]] * 9)[0]
    model, handle = stage.node(human_mask=mask)
    samples = stage.sample(model)
    assert torch.isfinite(samples).all() and handle.reports[-1].reused > 0


def test_interrupting_stops_it(run, monkeypatch):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            run(torch.rand(9, 32, 48, 3), [[square(8)]] * 9)
    finally:
        management.interrupt_current_processing(False)


def test_files_appear_under_the_names_that_other_packs_use(pack, folders, monkeypatch):
    for name in ("segm/person_yolov8m-seg.pt", "bbox/face.safetensors", "other.pt", "segm/readme.txt"):
        (folders / name).write_bytes(b"x")
    assert list(pack.detector_files.files()) == ["segm/person_yolov8m-seg.pt", "bbox/face.safetensors", "other.pt"]
    monkeypatch.setattr(pack.selfie, "find_spec", lambda name: None)
    options = {i.id: i.options for i in pack.mask.SyncCacheHumanMask.define_schema().inputs if hasattr(i, "options")}
    assert options["detector"] == options["face_detector"] == ["none", *pack.detector_files.files()]
    before = pack.mask.SyncCacheHumanMask.fingerprint_inputs(detector="other.pt")
    (folders / "other.pt").write_bytes(b"longer")
    assert pack.mask.SyncCacheHumanMask.fingerprint_inputs(detector="other.pt") != before


@pytest.mark.parametrize("name", ["segm/../../x.pt", "/etc/passwd", "segm/none.pt", "C:\\x.pt", "segm/a\n.pt"])
def test_other_paths_are_refused(pack, folders, name):
    (folders.parent / "x.pt").write_bytes(b"x")
    with pytest.raises(pack.detector_files.BadDetector, match="is not below models/ultralytics"):
        pack.detector_files.path_of(name)
    assert "is not below" in pack.mask.SyncCacheHumanMask.validate_inputs(detector=name)
    assert pack.mask.SyncCacheHumanMask.validate_inputs(detector="none", face_detector=None) is True


def test_a_bomb_does_not_go_off_in_the_node(pack, folders, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(folders / "it ran"),)

    torch.save({"model": Bomb()}, folders / "segm/evil.pt")
    monkeypatch.setattr(pack.detector, "version", lambda package: "8.4.190")  # the file is read before ultralytics is
    with pytest.raises(ValueError, match=r"evil\.pt: not loaded"):
        pack.mask.finder("segm/evil.pt", "person")
    assert not (folders / "it ran").exists()


def test_the_node_is_listed_without_ultralytics_and_tells_what_to_do(pack, folders, monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(pack.detector, "version", absent)
    (folders / "segm/a.pt").write_bytes(b"x")
    assert pack.mask.SyncCacheHumanMask.define_schema().node_id == "SyncCacheHumanMask"
    with pytest.raises(pack.detector.NoDetector, match=r"(?s)pip install.*AGPL-3\.0"):
        pack.mask.finder("segm/a.pt", "person")


class Selfie:
    """MediaPipe's: certain of the left half, half certain of a column beside it; of nobody where a picture is black."""

    closed = 0

    def close(self):
        Selfie.closed += 1

    def process(self, picture):
        assert picture.dtype == numpy.uint8 and picture.flags["C_CONTIGUOUS"]
        seen = numpy.zeros(picture.shape[:2], dtype=numpy.float32)
        if picture.any():
            seen[:, : seen.shape[1] // 2] = 1.0
            seen[:, seen.shape[1] // 2] = 0.5
        return SimpleNamespace(segmentation_mask=seen)


def chosen_selfie(pack, image, **inputs):
    """mask and text of the node with MediaPipe."""
    node = type("WithId", (pack.mask.SyncCacheHumanMask,), {"hidden": SimpleNamespace(unique_id="7")})
    out = node.execute(image=image, detector=pack.selfie.CHOICE, **{**PLAIN, **inputs})
    return out.args[0], out.ui["text"][0]


def test_mediapipe_is_offered_where_its_model_is(pack, folders, monkeypatch):
    package = folders.parent / "mediapipe"
    monkeypatch.setattr(pack.selfie, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[str(package)]))
    node, choice = pack.mask.SyncCacheHumanMask, "MediaPipe selfie segmentation"
    offered = lambda: {i.id: i.options for i in node.define_schema().inputs if hasattr(i, "options")}  # noqa: E731
    assert offered() == {"detector": ["none"], "face_detector": ["none"]}, "newer ones have no models inside"
    said = node.validate_inputs(detector=choice)
    assert choice in said and "pip install mediapipe==0.10.21" in said and "connect a mask" in said
    (package / pack.selfie.MODEL).parent.mkdir(parents=True)
    (package / pack.selfie.MODEL).write_bytes(b"x")
    assert offered() == {"detector": ["none", choice], "face_detector": ["none"]}, "it finds no faces"
    assert node.validate_inputs(detector=choice) is True and "is not below" in node.validate_inputs(face_detector=choice)
    (folders / "segm" / "a.pt").write_bytes(b"x")
    sys.modules["folder_paths"].filename_list_cache.clear()  # it looks again once the folder's time has ticked
    assert node.validate_inputs(detector="segm/a.pt", face_detector="none") is True, "workflows of before"


def test_mediapipe_finds_everybody_in_one_outline(pack, monkeypatch):
    monkeypatch.setattr(pack.selfie, "segmenter", Selfie)
    monkeypatch.setattr(Selfie, "closed", 0)
    image = torch.cat([torch.full((5, 32, 48, 3), 0.5), torch.zeros(1, 32, 48, 3)])
    mask, text = chosen_selfie(pack, image, hold=0, confidence=0.5)
    assert mask.shape == (6, 32, 48) and mask[0, :, :24].min() > 0.999 and mask[0, :, 25:].max() < 0.001
    assert mask[0, :, 24].tolist() == pytest.approx([0.5] * 32, abs=1e-5), "as certain as was asked"
    assert "nobody in frame 5" in text and "everybody in one outline" in text
    assert Selfie.closed == 1, "opened once for all frames, and closed"
    assert chosen_selfie(pack, image[:1], confidence=0.9)[0][0, 0, 24] == pytest.approx(0.1), "odds 1 of 1 against 9 of 1"
    assert "nobody in frame 0" in chosen_selfie(pack, image[:1], confidence=1.0)[1], "nothing is surer than that"


def test_specks_are_nobody(pack, monkeypatch):
    def speck(self, picture):
        seen = numpy.zeros(picture.shape[:2], dtype=numpy.float32)
        seen[:4, :4] = 1.0  # 16 of 4096 pixels, 0.4 %
        return SimpleNamespace(segmentation_mask=seen)

    monkeypatch.setattr(pack.selfie, "segmenter", type("Specks", (Selfie,), {"process": speck}))
    assert "nobody in frame 0" in chosen_selfie(pack, torch.ones(1, 64, 64, 3))[1]


@pytest.mark.parametrize("broken", [None, ModuleType("mediapipe")], ids=["absent", "without solutions"])
def test_without_mediapipe_the_way_out_is_told(pack, monkeypatch, broken):
    monkeypatch.setitem(sys.modules, "mediapipe", broken)
    assert pack.selfie.offered() == []
    with pytest.raises(pack.detector.NoDetector, match=r"(?s)pip install mediapipe==0\.10\.21.*connect a mask"):
        chosen_selfie(pack, torch.rand(1, 32, 48, 3))


@pytest.mark.slow
@pytest.mark.detector
def test_a_trained_detector_finds_people_it_never_saw(comfy, pack, folders, trained_detector):
    """Acceptance 1 in small; bench/mask.py has the whole table."""
    from bench.mask import iou
    from demo.detector import posed
    from demo.portraits import HELD_OUT_SEED

    (folders / "segm" / trained_detector.name).write_bytes(trained_detector.read_bytes())
    node = type("WithId", (pack.mask.SyncCacheHumanMask,), {"hidden": SimpleNamespace(unique_id="7")})
    scores = []
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 8):
        picture, true = posed(seed, 96)
        image = torch.from_numpy(picture)[None].float()
        scores.append(iou(node.execute(image=image, detector=f"segm/{trained_detector.name}", **PLAIN).args[0], true[None]))
    assert sum(scores) / len(scores) >= 0.8, scores
