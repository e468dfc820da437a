"""HunyuanVideo-Avatar's transformer and its files, at random weights under the official names."""

import pytest
import torch

from tests.host import avatar

pytestmark = pytest.mark.host
REAL = {"width": 3072, "inner": 1024, "hidden": 1024, "doubles": 2, "singles": 1}
exact = torch.inference_mode()


@pytest.fixture(scope="module")
def weights():
    return avatar.random_weights()


@pytest.fixture
def load(rooms, tmp_path):
    """A patcher of weights that were saved as the official file is, or with other content or another name."""

    def loaded(content, name="tiny.pt", **options):
        save(content, tmp_path / name)
        return rooms["files"].load_avatar(str(tmp_path / name), **options)

    return loaded


def save(content, path):
    import comfy.utils

    if path.suffix == ".pt":
        torch.save(content, path)
    else:
        comfy.utils.save_torch_file(content, str(path))


def distance(one, other) -> float:
    return float((one - other).norm() / other.norm())


@exact
@pytest.mark.parametrize("people", [1, 2])
def test_the_forward_is_that_of_the_facts(load, weights, people):
    model = load({"module": weights}).model.diffusion_model
    given = avatar.inputs(people=people)
    expected = avatar.forward(weights, **given)
    assert expected.std() > 0.1 and distance(model(**given), expected) < 1e-5
    other = {**given, "avatar_audio": -given["avatar_audio"]}
    assert distance(avatar.forward(weights, **other), expected) > 1e-2, "sound shows in what is compared"


@exact
def test_a_wide_picture_and_other_frames(load, weights):
    given = avatar.inputs(frames=5)
    wide = {name: torch.cat((given[name], given[name].flip(-1)), dim=-1) for name in ("x", "avatar_ref", "avatar_face")}
    given = {**given, **wide}
    assert distance(load({"module": weights}).model.diffusion_model(**given), avatar.forward(weights, **given)) < 1e-5


@exact
def test_a_text_mask(load, weights):
    """Of ones it changes nothing; 0 takes a token away, as minus infinity that attention adds does."""
    model, given = load({"module": weights}).model.diffusion_model, avatar.inputs()
    plain, there = model(**given), torch.ones(1, 7, dtype=torch.int64)
    assert distance(model(**given, attention_mask=there), plain) < 1e-5
    there[0, 3] = 0
    masked = model(**given, attention_mask=there)
    added = torch.zeros(1, 7).masked_fill(there == 0, torch.finfo(torch.float32).min)
    assert distance(masked, plain) > 1e-3 and torch.equal(model(**given, attention_mask=added), masked)


@exact
@pytest.mark.once
@pytest.mark.slow
def test_at_real_width(rooms, tmp_path):
    weights, given = avatar.random_weights(**REAL), avatar.inputs()
    expected = avatar.forward(weights, **given)
    save(weights, tmp_path / "real_width.safetensors")
    weights.clear()  # 3 GB, so that two copies are the most that is held
    model = rooms["files"].load_avatar(str(tmp_path / "real_width.safetensors")).model.diffusion_model
    (tmp_path / "real_width.safetensors").unlink()
    assert distance(model(**given), expected) < 1e-5


def test_the_real_models_names_and_shapes_fit(rooms):
    """20 + 40 blocks of width 3072, on no memory: nothing is missing, unexpected or of another shape."""
    official = avatar.shapes(3072, 20, 40, 1024, 1024)
    extra = [name for name in official if name.startswith(("audio_", "motion_", "fps_", "before_", "ref_in"))]
    assert len(extra) == 94
    weights = {name: torch.empty(shape, device="meta") for name, shape in official.items()}
    assert round(sum(value.numel() for value in weights.values()) / 1e9, 2) == 12.99
    weights = rooms["model"].AvatarConfig({}).process_unet_state_dict(weights)
    rooms["files"].check_names(weights, rooms["files"].config_of(weights, "it").unet_config, "it")
