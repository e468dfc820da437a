"""What an adapter keeps where the rows beside the video go through the blocks at every step, in one sequence with it."""

from collections.abc import Callable

import torch

from ..reuse.live import beside
from .case import Case, assert_close, running, watched


def contract_rows_beside_are_the_computed_ones(case: Case) -> None:
    given_the_computed(case, lambda call, view, hidden: beside(view, hidden))


def given_the_computed(case: Case, chosen: Callable, mask: torch.Tensor | None = None, **settings) -> None:
    """Where the states of the others are known, a block gives some rows what it does when it runs on all.

    chosen(call, view, hidden [B, L, C]) -> (these rows, the others).
    """
    x, audio = case.tensors(14)
    ran = []

    def look(call, block, state, run, rest, live):
        view = call.view(block)
        hidden = view.tensor(state)
        rows, others = chosen(call, view, hidden)
        got = live(rows.of(hidden), rows, others.of(hidden), others)

        def then(out):
            assert_close(got, rows.of(view.tensor(out)), case.tolerance, f"rows of block {block}")
            ran.append(block)

        return then

    with running(case, mask, schedule=(True, True), **settings) as session:
        with watched(look), session.evaluation(case.sigmas[1]):
            case.call(case.model, x, case.sigmas[1], audio)
    assert len(ran) == case.bound.layout.blocks


def contract_rows_beside_go_through_every_block(case: Case) -> None:
    """At a reused step each block changes all of them."""
    x, audio = case.tensors(15)
    seen = []

    def look(call, block, state, *ways):
        view = call.view(block)
        rows, _ = beside(view, view.tensor(state))
        before = rows.of(view.tensor(state))

        def then(out):
            assert ((rows.of(view.tensor(out)) - before).abs().amax(dim=-1) > 0).all(), f"rows of block {block} rest"
            seen.append(block)

        return then

    with running(case, schedule=(True, False, True)) as session:
        with session.evaluation(case.sigmas[0]):
            case.call(case.model, x, case.sigmas[0], audio)
        with watched(look), session.evaluation(case.sigmas[1]):
            case.call(case.model, x, case.sigmas[1], audio)
        assert session.report.reused == 1, "nothing was reused"
    assert len(seen) == case.bound.layout.blocks


CONTRACT = (contract_rows_beside_are_the_computed_ones, contract_rows_beside_go_through_every_block)
