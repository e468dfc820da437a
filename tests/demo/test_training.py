"""The training tools: the optimiser's arithmetic, the flat VAE, what a chunk is given, resuming."""

import pytest
import torch

from demo.training.muon import Muon, orthogonal


def test_orthogonal_levels_the_singular_values():
    uneven = torch.diag(torch.tensor([1.0, 0.1, 0.03])) @ torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    for matrix in (uneven, uneven.T):
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert values.min() > 0.6 and values.max() < 1.3


def test_muon_learns_rare_directions_as_fast_as_common_ones():
    """A linear map whose inputs differ in scale tenfold: gradient descent would need a hundred times as long."""
    scales, wanted = torch.tensor([1.0, 0.3, 0.1]), torch.eye(3)
    weight = torch.nn.Parameter(torch.zeros(3, 3))
    optimiser = Muon([weight], lr=0.05)
    for step in range(100):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 100)
        optimiser.zero_grad()
        (((weight - wanted) * scales) ** 2).sum().backward()
        optimiser.step()
    assert (weight - wanted).abs().max() < 0.15


def test_muon_takes_convolutions_as_matrices_and_resumes():
    def trained(steps, state=None):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(4, 3, 1, 3, 3))
        optimiser = Muon([weight], lr=0.01, weight_decay=0.1)
        if state:
            weight.data, _ = state[0].clone(), optimiser.load_state_dict(state[1])
        for _ in range(steps):
            optimiser.zero_grad()
            weight.square().sum().backward()
            optimiser.step()
        return weight.detach().clone(), optimiser.state_dict()

    assert torch.equal(trained(4)[0], trained(2, trained(2))[0])


def test_muon_on_all_weights_at_once_is_the_textbook_rule():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (3, 5), (4, 3))]
    plain, momenta = [weight.detach().clone() for weight in weights], [torch.zeros_like(weight) for weight in weights]
    optimiser = Muon(weights, lr=0.01, weight_decay=0.1)
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        for number, weight in enumerate(weights):
            momenta[number] = 0.95 * momenta[number] + 0.05 * weight.grad
            change = orthogonal(0.05 * weight.grad + 0.95 * momenta[number]) * 0.2 * max(weight.shape) ** 0.5
            plain[number] = plain[number] * (1 - 0.01 * 0.1) - 0.01 * change
        optimiser.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights, plain))


@pytest.fixture(scope="module")
def training(host_folder):
    from demo.training.modelling import open_host
    open_host(cpu=True)
    from demo.training import train_dit
    return train_dit


def data(clips: int = 3, latents: int = 18) -> dict:
    stamps = torch.arange(latents, dtype=torch.float32)
    return {"video": stamps.view(1, 1, -1, 1, 1).expand(clips, 16, latents, 12, 12).clone(),
            "reference": torch.zeros(clips, 16, 1, 12, 12),
            "sound": torch.arange(4.0 * latents).view(1, -1, 1).expand(clips, -1, 44).clone()}


def test_first_chunk_starts_the_clip_and_has_no_past(training):
    clean, sound, given = training.draw_chunk(data(), False, torch.Generator().manual_seed(0))
    assert clean[0, 0, :, 0, 0].tolist() == list(range(9)) and sound[0, :, 0].tolist() == list(range(36))
    assert "reference_motion" not in given


def test_later_chunks_get_the_latents_before_them_and_the_sound_that_the_host_would_cut(training):
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        clean, sound, given = training.draw_chunk(data(), True, generator)
        start = int(clean[0, 0, 0, 0, 0])
        assert 1 <= start <= 9 and sound[0, 0, 0] == 4 * start
        past = given["reference_motion"]
        assert past.shape[2] <= 19
        assert abs(past[:, :, -1].mean() - (start - 1)) < 0.1  # the newest comes last; noise is small


def test_training_leaves_the_shipped_weights_alone_until_export(tmp_path):
    from demo.training.modelling import ship, trained
    asset, other = tmp_path / "shipped.bin", tmp_path / "other.bin"
    asset.write_bytes(b"old")
    work = tmp_path / "work"
    work.mkdir()
    assert trained(work, asset) == asset
    (work / "shipped.bin").write_bytes(b"new")
    assert trained(work, asset) == work / "shipped.bin" and asset.read_bytes() == b"old"
    assert ship(work, (asset, other)) == [asset] and asset.read_bytes() == b"new" and not other.exists()
