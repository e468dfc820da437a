"""The paper's own settings: SyncCache, arXiv 2606.30849."""

from collections.abc import Sequence
from dataclasses import replace

from ..config import PROBE, RESIDUAL, Config
from ..model.layout import PAPER_RATIO as RATIO
from ..model.layout import Layout, even_groups

SPEEDUP, OMEGA = 3.75, 2.0  # on Wan2.2-S2V


def paper_config(base: Config, layout: Layout, boundaries: Sequence[Sequence[int]] = ()) -> Config:
    """`base` with the paper's method: the first block as probe at every step, the human's tokens weighed by omega in it, the
    change accumulated against the threshold of `base`, or one steered to its speed; n = floor(RATIO * M) stored residuals
    of M audio blocks, the audio between their boundaries frozen; no forecast.

    boundaries: groups of segments, of a calibration; () = even ones. Raises BadConfig.
    """
    groups = tuple(map(tuple, boundaries)) or even_groups(layout, stored(layout))
    return replace(
        base, choose=PROBE, omega=OMEGA, level=RESIDUAL, probe=True, groups=groups, merge="freeze", forecast_order=0,
        backtest=False, adapt=False, correction=False, live=False,
    )


def stored(layout: Layout) -> int:
    """n of the paper, at least 1."""
    return max(1, min(layout.storable(), int(RATIO * len(layout.refresh) + 1e-9)))
