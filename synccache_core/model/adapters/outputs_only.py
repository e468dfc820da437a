"""Any model: nothing is known of its inside, so that only its whole result can be reused, and its class is its name."""

import torch

from ..cost import CostModel
from ..grid import Grid
from ..layout import Layout
from . import Adapter

LAYOUT = Layout(0, ())
COST = CostModel(block=0.0, refresh=0.0, other=1.0, layout=LAYOUT)  # in computed steps


def outputs_only(model: torch.nn.Module) -> Adapter:
    """Plans that are made for one class of models are refused by others."""
    kind = type(model).__name__
    return Adapter(
        name=kind,
        title=kind,
        classes=(kind,),
        layout=lambda model: LAYOUT,
        grid=lambda latent: Grid.of_any(latent.shape),
        cost=lambda model, grid, tokens, text=None: COST,
        width=lambda model: 0,
    )
