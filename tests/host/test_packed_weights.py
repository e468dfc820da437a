"""Weights in a tensor class of another extension, such as GGUF files: what the model hands on inherits the class."""

import pytest
import torch

from .doors import check
from .test_contract import FAMILIES

pytestmark = pytest.mark.host


class Shared(torch.Tensor):
    """Nothing of it is copied where a copy is asked for."""

    def clone(self, *_args, **_kwargs):
        return self

    def detach(self):
        return self


class Packed(torch.Tensor):
    """Two numbers in one element, under the shape that the model knows."""

    @property
    def shape(self):
        *rows, half = self.size()
        return torch.Size([*rows, 2 * half])


def shared(model: torch.nn.Module) -> torch.nn.Module:
    """Its weights are of that class, and so is what it adds to its hidden states; linear layers take it off again."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _module, _given, out: out.as_subclass(torch.Tensor))
            continue
        for name, weight in list(module.named_parameters(recurse=False)):
            held = torch.nn.Parameter(weight.data.as_subclass(Shared), requires_grad=False)
            setattr(module, name, held)
    return model


@pytest.mark.parametrize("family", ["wan_s2v", "hunyuan_video", "humo"])
def test_contract(comfy, family):
    with torch.no_grad():
        case = FAMILIES[family](comfy)
        case.model = shared(case.model)
        assert len(check(comfy, case)) >= 12


@pytest.mark.parametrize("family", FAMILIES)
def test_cost_is_that_of_the_numbers_that_packed_weights_stand_for(comfy, family):
    case = FAMILIES[family](comfy)
    before = case.bound.cost(case.grid, 48)
    for module in case.model.modules():
        if isinstance(module, torch.nn.Linear) and module.in_features % 2 == 0:
            packed = module.weight.data[:, ::2].clone().as_subclass(Packed)
            module.weight = torch.nn.Parameter(packed, requires_grad=False)
            assert module.weight.numel() < module.in_features * module.out_features == module.weight.shape.numel()
    assert case.bound.cost(case.grid, 48) == before
