"""Files of the avatar: the official .pt, safetensors, fp8 with its scales; what is refused, and what the host still does."""

import pytest
import torch

from tests.host import avatar
from tests.host.test_avatar_model import distance, save

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def weights():
    return avatar.random_weights()


@pytest.fixture
def load(rooms, tmp_path):
    """A patcher of weights that were saved under this name."""

    def loaded(content, name="tiny.pt", **options):
        save(content, tmp_path / name)
        return rooms["files"].load_avatar(str(tmp_path / name), **options)

    return loaded


@torch.inference_mode()
def run(patcher, **sizes):
    return patcher.model.diffusion_model(**avatar.inputs(**sizes))


def test_every_way_to_store_it_is_the_same_model(load, weights):
    """Official, as "ema", bare, safetensors, inside a checkpoint, and with names that ComfyUI saved."""
    first = run(load({"module": weights}))
    native = load(weights, "bare.pt").model.diffusion_model.state_dict()
    for name, content in {
        "ema.pt": {"ema": weights, "step": 3}, "bf16.safetensors": weights,
        "checkpoint.safetensors": {f"model.diffusion_model.{key}": value for key, value in weights.items()},
        "native.safetensors": {key: value.clone() for key, value in native.items()},
    }.items():  # fmt: skip
        assert torch.equal(run(load(content, name)), first), name


def test_what_the_core_loaders_do_stays(load, comfy, weights, tmp_path):
    """Before and after: the core takes the file for a HunyuanVideo, and its list of models is untouched."""
    import comfy.supported_models

    before = list(comfy.supported_models.models)
    patcher = load({"module": weights})
    assert type(patcher.model).__name__ == "AvatarModel" and patcher.model.model_sampling.shift == 5.0
    assert comfy.supported_models.models == before
    assert type(comfy.sd.load_diffusion_model(str(tmp_path / "tiny.pt")).model).__name__ == "HunyuanVideo"


def test_the_host_can_make_another_copy(load, weights):
    patcher = load({"module": weights})
    make, arguments = patcher.cached_patcher_init[:2]
    assert torch.equal(run(make(*arguments, disable_dynamic=True)), run(patcher))


def fp8(weights) -> tuple[dict, dict, dict]:
    """Weights as the official fp8 file has them, its map, and what both stand for."""
    stored, scales, meant = dict(weights), {}, dict(weights)
    for name, value in weights.items():
        if name.split(".")[0] in ("double_blocks", "single_blocks") and value.ndim == 2:
            scale = value.abs().max() / 300
            stored[name] = (value / scale).to(torch.float8_e4m3fn)
            scales[name.removesuffix(".weight")] = scale
            meant[name] = stored[name].float() * scale
    return stored, scales, meant


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_fp8_with_its_map(load, weights, tmp_path, suffix):
    stored, scales, meant = fp8(weights)
    save(scales, tmp_path / f"small_map.{suffix}")
    patcher = load({"module": stored} if suffix == "pt" else stored, f"small.{suffix}")
    kinds = {
        type(value).__name__ for name, value in patcher.model.diffusion_model.named_parameters() if "linear1.weight" in name
    }
    assert kinds == {"QuantizedTensor"}, "kept as fp8"
    out, expected = run(patcher), run(load(meant, "meant.pt"))
    assert distance(out, expected) < 1e-2 < distance(run(load(weights, "plain.pt")), expected)


def test_fp8_without_its_map_or_with_another(load, rooms, weights, tmp_path):
    stored, scales, _ = fp8(weights)
    with pytest.raises(rooms["model"].BadAvatar, match="small.pt: its fp8 weights need their scales.*small_map.pt"):
        load({"module": stored}, "small.pt")
    scales.pop("single_blocks.1.linear2")
    save(scales, tmp_path / "small_map.pt")
    with pytest.raises(rooms["model"].BadAvatar, match="small_map.pt: no scale for single_blocks.1.linear2 of small.pt"):
        load({"module": stored}, "small.pt")


def renamed(weights, old, new):
    return {key.replace(old, new): value for key, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "before_proj.bias"}, "1 missing: before_proj.bias"),
        (lambda w: {**w, "guess.weight": torch.zeros(2)}, "1 unexpected: guess.weight"),
        (lambda w: {**w, "ref_in.proj.bias": torch.zeros(3)}, r"1 of another shape: ref_in.proj.bias \(3,\) instead of"),
        (lambda w: {k: v for k, v in w.items() if "adapter_blocks.1" not in k}, "7 missing: audio_adapter.*and 3 more"),
        (lambda w: {k: v for k, v in w.items() if "audio" not in k}, "without audio adapters: ComfyUI's Load"),
        (lambda w: {"conv.weight": torch.zeros(2, 2)}, "no HunyuanVideo-Avatar, but no known model"),
        (lambda w: {**w, "note": "hello"}, "note are no tensors"),
    ],
)  # fmt: skip
def test_what_is_refused(load, rooms, weights, change, said):
    with pytest.raises(rooms["model"].BadAvatar, match=said):
        load({"module": change(weights)})


def test_nothing_in_a_file_is_executed(load, tmp_path):
    import pickle

    class Bad:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    with pytest.raises(pickle.UnpicklingError):
        load({"module": Bad()})
    assert not (tmp_path / "ran").exists()
