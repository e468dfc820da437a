"""Rows of MiniMax-H3's blocks by hand: which modulation is whose, how keys are turned, what a step costs."""

from types import SimpleNamespace

import pytest
import torch

from synccache_core import Grid, Pass
from synccache_core.model.adapters.minimax_h3 import ADAPTER, part, rotated
from synccache_core.model.live import Rows


def test_modulations_of_some_rows():
    """Seven rows: two of text, two of a sound that have their own, one, two of video. Rows 1, 3, 5 and 6 are asked for."""
    each = torch.tensor([7, 8])
    given = {"mod_segments": [(0, 2, 1), (2, 4, each), (4, 5, 5), (5, 7, 0)], "t_emb": 3}
    given["rope_freqs"] = torch.arange(7.0)[None]
    mine = part(given, Rows(torch.tensor([1, 3, 5, 6]), 2))
    assert mine["rope_freqs"].tolist() == [[1.0, 3.0, 5.0, 6.0]] and mine["t_emb"] == 3
    *plain, (first, last, row) = [mine["mod_segments"][place] for place in (0, 2, 1)]
    assert plain == [(0, 1, 1), (2, 4, 0)] and (first, last, row.tolist()) == (1, 2, [8])


def test_keys_are_turned_in_halves():
    """Channels 0 and 1 are pairs with 2 and 3, the last is left: by a quarter turn, and by none."""
    quarter, none = [[0.0, -1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    turns = torch.tensor([[[quarter, none]]])
    assert rotated(torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]]), turns).tolist() == [[[-3.0, 2.0, 1.0, 4.0, 5.0]]]


def test_where_the_video_lies():
    """Text 3, a picture of 4 x 6 latents, a sound of 5 beside the film's of 37, all in two channels."""
    def forward(x, timestep, context, transformer_options, minimax_payload=None):
        pass

    payload = {"cond_video_latents": [torch.zeros(1, 24, 1, 4, 6)], "cond_audio_latents": [torch.zeros(1, 32, 2, 5)]}
    args = [torch.zeros(1, 24, 7, 4, 4), torch.zeros(1, 32, 2, 37)], 0, torch.zeros(1, 3, 8), {}
    for given, front in ((payload, 3 + 6 + 10 + 74), (None, 3 + 74)):
        view = ADAPTER.view(Pass(None, Grid(7, 2, 2), forward, args, {"minimax_payload": given}), 4)
        assert (view.count, view.front, view.behind) == (28, front, 0)


def test_what_a_step_costs_by_hand():
    """d 4, i 6, m 8, one of text and two of sound before four of video: 8 d i + 6 d m = 384 a row, 24 i L = 24 x 7."""
    def linear(out, into):
        return SimpleNamespace(weight=torch.empty(out, into))

    attn, mlp = SimpleNamespace(out_proj=linear(4, 6)), SimpleNamespace(fc2=linear(4, 8))
    block = SimpleNamespace(attn=attn, mlp=mlp, adaln_proj=SimpleNamespace(linear=linear(72, 2)))
    model = SimpleNamespace(blocks=[block] * 6, video_patch_proj=linear(4, 5), audio_patch_proj=linear(4, 2))
    cost = ADAPTER.cost(model, Grid(1, 2, 2, 4, 5), 7, 1)
    every = 384 * 3 + 24 * 3 * 7 + 144 * 4
    assert cost.block == 384 * 7 + 24 * 7 * 7 - every
    sound = 2 * 2  # of one frame of the film, at most
    assert cost.other == 6 * (every + 4 * 144) + 4 * (20 * 4 + 8 * sound)
    assert cost.full == pytest.approx(6 * (384 * 7 + 24 * 49 + 4 * 144) + 4 * (20 * 4 + 8 * sound))
