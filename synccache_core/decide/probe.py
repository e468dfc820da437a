"""Spatially-asymmetric probe: how much the probe segment's output changed since the evaluation before.

e_O = sum_{i in O} w_i |p_t,i - p_{t-1},i| / sum_{i in O} w_i |p_{t-1},i|      for a region O of video tokens
e   = lambda * e_human + (1 - lambda) * e_background                            (each region normalised by itself)

The shallow probe is DiCache's idea; the two-region form is our reading of SyncCache (arXiv 2606.30849).
"""

import torch

PROBE_CHANNELS = 128  # at 14B two copies of them are a fortieth of a residual of both branches


def subsample(video: torch.Tensor) -> torch.Tensor:
    """[B, tokens, C] -> a copy [B, tokens, C'] of evenly strided channels, enough to measure change by.

    A copy, since the host writes into the tensor that a block returned.
    """
    stride = max(1, video.shape[-1] // PROBE_CHANNELS)
    return video[..., ::stride].detach().clone()


def token_change(now: torch.Tensor, before: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum |now - before|, sum |before|) of each token, [L] each, in float32."""
    return (now.float() - before.float()).abs().sum(dim=(0, 2)), before.float().abs().sum(dim=(0, 2))


def weighed(
    moved: torch.Tensor, size: torch.Tensor, weights: torch.Tensor | None, human_weight: float, omega: float | None = None
) -> torch.Tensor:
    """Scalar tensor e from what `token_change` gives. weights: [L] in 0..1, or None.

    No weights, or weights that leave one region empty: the plain mean over all tokens. 0/0 gives NaN, which the policy
    answers with COMPUTE.
    """
    if weights is None or weights.sum() <= 0 or (1 - weights).sum() <= 0:
        return moved.sum() / size.sum()
    if omega is not None:
        soft = 1 + (omega - 1) * weights
        return (soft * moved).sum() / (soft * size).sum()
    human = (weights * moved).sum() / (weights * size).sum()
    background = ((1 - weights) * moved).sum() / ((1 - weights) * size).sum()
    return human_weight * human + (1 - human_weight) * background
