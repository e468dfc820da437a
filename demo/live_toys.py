"""Toy DiTs whose blocks have real attention, with what differs from row to row given to them, as rotations are."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from synccache_core.contract.case import Case
from synccache_core.model.adapters import Adapter
from synccache_core.model.cost import parameter_cost
from synccache_core.model.grid import Grid
from synccache_core.model.layout import Layout
from synccache_core.model.live import Live
from synccache_core.model.view import View

POINTS = (0, 2, 4, 6)


class ToyAttentionBlock(nn.Module):
    """h + attention + tanh(mix(h)); queries and keys are made of a row and its place. hidden: [B, L, C], or
    [L, C]. places: [1, L, C]."""

    def __init__(self, width: int):
        super().__init__()
        self.q, self.k, self.v, self.mix = (nn.Linear(width, width) for _ in range(4))

    def forward(self, hidden, sigma, places, attend=scaled_dot_product_attention):
        heard = hidden * (1 + sigma) + (places if hidden.ndim == 3 else places[0])
        hidden = hidden + attend(self.q(heard), self.k(heard), self.v(heard))
        return hidden.add_(0.3 * torch.tanh(self.mix(hidden)))


class ToyAttentionDiT(nn.Module):
    """x [B, 8, C], six of video and two behind -> [B, 6, C]; audio [B, C] is added to the video after some blocks."""

    def __init__(self, width: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(ToyAttentionBlock(width) for _ in range(7))
        self.places = nn.Parameter(torch.randn(1, 8, width))

    def forward(self, x, sigma, audio):
        hidden = x.clone()
        for index, block in enumerate(self.blocks):
            hidden = block(hidden, sigma, self.places)
            if index in POINTS:
                hidden[:, :6] += torch.sin(hidden[:, :6]) * audio[:, None]
        return hidden[:, :6]


class ToyPackedDiT(ToyAttentionDiT):
    """x [B, 8, C], two of sound, to which audio [B, C] is added, and six of video -> x. One alone goes as [L, C]."""

    def forward(self, x, sigma, audio):
        hidden = torch.cat([x[:, :2] + audio[:, None], x[:, 2:]], dim=1)
        hidden = hidden[0] if len(x) == 1 else hidden
        for block in self.blocks:
            hidden = block(hidden, sigma, self.places)
        return hidden.reshape(x.shape)


def keys(block, hidden, given):
    heard = hidden * (1 + given["sigma"]) + given["places"]
    return block.k(heard), block.v(heard)


@contextmanager
def hearing(block, given, more):
    def attend(q, *own):
        both = (torch.cat([mine, each.reshape(*mine.shape[:-2], *each.shape[-2:])], dim=-2) for mine, each in zip(own, more))
        return scaled_dot_product_attention(q, *both)

    yield {**given, "attend": attend}


LIVE = Live(lambda given, rows: {**given, "places": rows.of(given["places"])}, keys, hearing)


def toy_live() -> Adapter:
    return _adapter("toy_live", "Toy DiT with attention", "ToyAttentionDiT", Layout(7, POINTS), View(6, behind=2))


def toy_packed() -> Adapter:
    """The rows of sound go through every block at every step."""
    layout = Layout(7, (0, 2, 4), "beside")
    return _adapter("toy_packed", "Toy DiT, audio in the sequence", "ToyPackedDiT", layout, View(6, 2, 0))


def _adapter(name: str, title: str, served: str, layout: Layout, view: View) -> Adapter:
    return Adapter(
        name=name,
        title=title,
        classes=(served,),
        layout=lambda model: layout,
        grid=lambda latent: Grid(1, 2, 3),
        cost=lambda model, grid, tokens, text=None: parameter_cost(layout, 100, 2, 1),
        width=lambda model: 8,
        live=lambda block: LIVE,
        view=lambda one, block: view,
    )


def toy_live_case() -> Case:
    return Case(ToyAttentionDiT, toy_live(), Grid(1, 2, 3), (1, 8, 8), (1, 8))


def toy_packed_case() -> Case:
    return Case(ToyPackedDiT, toy_packed(), Grid(1, 2, 3), (1, 8, 8), (1, 8), video=lambda output: output[:, 2:])
