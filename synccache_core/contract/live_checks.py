"""What an adapter keeps where its blocks can run on some of their rows: the contract of a LIVE step."""

from collections.abc import Callable, Sequence

import torch

from . import beside_checks
from .case import Case, assert_close, running, sample, watched


def of(case: Case) -> Sequence[Callable[[Case], None]]:
    """The checks of this case that are not everybody's."""
    if not case.bound.takes_rows:
        return ()
    return beside_checks.CONTRACT if case.bound.layout.audio == "beside" else CONTRACT


def contract_live_all_rows_give_the_computed_output(case: Case) -> None:
    x, audio = case.tensors(8)
    plain = case.call(case.model, x + 0.3, case.sigmas[2], audio + 1.0)
    out, _ = second(case, torch.ones(1, 1, 1), x, audio)
    assert_close(out, plain, case.tolerance)


def contract_live_rows_of_a_block_are_the_computed_ones(case: Case) -> None:
    def chosen(call, view, hidden):
        return call.live.rows(call.grid, view, hidden)

    beside_checks.given_the_computed(case, chosen, corner(case), live=True)


def contract_live_no_row_gives_the_reused_output(case: Case) -> None:
    x, audio = case.tensors(9)
    empty, _ = second(case, torch.zeros(1, 1, 1), x, audio, action="reuse")
    reused, _ = second(case, None, x, audio, action="reuse")
    assert torch.equal(empty, reused), "a LIVE step without live rows is no reused step"


def contract_live_leaves_the_other_rows_as_reuse_does(case: Case) -> None:
    """Every block hands on what stands beside the mask as at a reused step; what is live, and only that, is another."""
    x, audio = case.tensors(10)
    (_, live), (_, reused) = (second(case, mask, x, audio, action=action)
                              for mask, action in ((corner(case), "live"), (None, "reuse")))  # fmt: skip
    last = case.bound.layout.blocks - 1
    inside = corner(case, dilated=True).flatten() > 0
    assert 0 < inside.sum() < len(inside), "the grid is too small to have live rows and others"
    assert_close(live[last][:, ~inside], reused[last][:, ~inside], case.tolerance)
    apart = (live[last][:, inside] - reused[last][:, inside]).abs().amax(dim=(0, 2))
    assert (apart > 0).all(), "live rows were not computed"


def contract_live_rows_hear_the_audio(case: Case) -> None:
    x, audio = case.tensors(11)
    (one, _), (other, _) = (second(case, corner(case), x, audio, shift) for shift in (1.0, 2.0))
    assert (one - other).abs().max() > 100 * case.tolerance * one.abs().max(), "stale audio"


def contract_live_branches_do_not_mix(case: Case) -> None:
    pairs = case.tensors(12), case.tensors(13)

    def run(batched: bool) -> torch.Tensor:
        with running(case, corner(case), schedule=(True, False, False, True), live=True) as session:
            for sigma in case.sigmas[:3]:
                with session.evaluation(sigma):
                    if batched:
                        with session.branch("u", "c"):
                            x, audio = (torch.cat(each) for each in zip(*pairs))
                            both = case.call(case.model, x, sigma, audio)
                        continue
                    singles = []
                    for name, (x, audio) in zip("uc", pairs):
                        with session.branch(name):
                            singles.append(case.call(case.model, x, sigma, audio))
                    both = torch.cat(singles)
            assert session.report.lived == 2, f"nothing was LIVE: {session.report.notes}"
        return both

    assert_close(run(batched=True), run(batched=False), case.tolerance)


def contract_live_runs_leave_nothing_behind(case: Case) -> None:
    class Interrupt(BaseException):
        pass

    plain = sample(case)
    before = [(name, sorted(vars(module))) for name, module in case.model.named_modules()]

    def stop(call, block, state, *ways):
        if call.mode == "live" and block == call.layout.blocks - 1:
            raise Interrupt

    try:
        with watched(stop), running(case, corner(case), schedule=(True, False) * 6, live=True) as session:
            sample(case, session)
    except Interrupt:
        pass
    else:
        raise AssertionError("nothing was LIVE")
    assert [(name, sorted(vars(module))) for name, module in case.model.named_modules()] == before
    assert all(torch.equal(a, b) for a, b in zip(plain, sample(case), strict=True))


def corner(case: Case, dilated: bool = False) -> torch.Tensor:
    """A mask [T, H, W] of the first token of each frame, or with those that are live because they touch it."""
    mask, size = torch.zeros(case.grid.frames, case.grid.height, case.grid.width), 2 if dilated else 1
    mask[:, :size, :size] = 1.0
    return mask


def second(case: Case, mask, x, audio, shift: float = 1.0, action: str = "live") -> tuple[torch.Tensor, dict]:
    """(output, {block: its video}) of an evaluation after a computed one, at which something of everything has changed."""
    states = {}

    def look(call, block, state, *ways):
        def then(out):
            states[block] = call.view(block).of(out).clone()

        return then

    with running(case, mask, schedule=(True, False, True), live=mask is not None) as session:
        with session.evaluation(case.sigmas[1]):
            case.call(case.model, x, case.sigmas[1], audio)
        with watched(look), session.evaluation(case.sigmas[2]):
            out = case.call(case.model, x + 0.3, case.sigmas[2], audio + shift)
        assert [step.action for step in session.report.steps] == ["compute", action], session.report.notes
    return out, states

CONTRACT = (
    contract_live_all_rows_give_the_computed_output,
    contract_live_rows_of_a_block_are_the_computed_ones,
    contract_live_no_row_gives_the_reused_output,
    contract_live_leaves_the_other_rows_as_reuse_does,
    contract_live_rows_hear_the_audio,
    contract_live_branches_do_not_mix,
    contract_live_runs_leave_nothing_behind,
)
