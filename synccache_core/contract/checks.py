"""The contract that every adapter must keep: `check_adapter(case)`. For this pack's tests and for yours.

Through either door: `attach` of plain PyTorch, or a host's hooks."""

import gc
import weakref

import torch

from . import live_checks
from .case import Case, Install, assert_close, running, sample, watched


def check_adapter(case: Case, install: Install | None = None) -> list[str]:
    """Run the whole contract; returns the names of the promises kept, raises AssertionError with the one broken.

    install: the door, None = the case's own, which is `attach` where it says nothing else.
    """
    case.install = install or case.install
    checks = [*CONTRACT, *live_checks.of(case)]
    with torch.no_grad():
        for check in checks:
            check(case)
    return [check.__name__.removeprefix("contract_") for check in checks]


def contract_segments_cover_every_block_once(case: Case) -> None:
    layout = case.bound.layout
    blocks = case.bound.blocks
    assert len(blocks) == layout.blocks, "layout counts other blocks than the model has"
    assert len({block.place for block in blocks}) == len({id(block.module) for block in blocks}) == len(blocks)
    skipped = [b for b in range(layout.blocks) if b >= layout.probe_blocks]
    added = [s for steps in layout.reuse_steps.values() for action, s in steps if action in ("add", "spread")]
    without_probe = [] if layout.audio == "inside" else [0]
    wanted = [*without_probe, *range(1, layout.segments)]
    assert sorted(set(added)) == wanted, f"segments {added} do not cover blocks {skipped}"


def contract_off_is_bit_identical(case: Case) -> None:
    plain = sample(case)
    with running(case, target_speedup=1.0) as session:
        assert all(torch.equal(a, b) for a, b in zip(plain, sample(case, session), strict=True))
        assert session.report.bytes_held == 0


def contract_all_computed_is_bit_identical(case: Case) -> None:
    plain = sample(case)
    with running(case, schedule=(True,) * 12) as session:
        assert all(torch.equal(a, b) for a, b in zip(plain, sample(case, session), strict=True))
        assert session.report.bytes_held > 0, f"nothing was stored: {session.report.notes}"


def contract_perfect_residual_gives_the_computed_output(case: Case) -> None:
    """Recorded at the very same input, a reused evaluation equals the computed one: no audio is counted twice."""
    x, audio = case.tensors(1)
    with running(case, schedule=(True, False, True)) as session:
        outputs = []
        for sigma in (1.0, 1.0):
            with session.evaluation(sigma):
                outputs.append(case.call(case.model, x, 1.0, audio))
        assert session.report.reused == 1, "nothing was reused"
    assert_close(case.video(outputs[1]), case.video(outputs[0]), case.tolerance)


def contract_audio_is_fresh_on_a_reused_step(case: Case) -> None:
    """Only the audio of the second evaluation differs, and that evaluation is reused: its output must differ."""
    x, audio = case.tensors(2)
    outputs = []
    for second_audio in (audio, audio + 1.0):
        with running(case, schedule=(True, False, True)) as session:
            for sigma, heard in ((1.0, audio), (0.9, second_audio)):
                with session.evaluation(sigma):
                    out = case.call(case.model, x, sigma, heard)
            assert session.report.reused == 1, "nothing was reused"
        outputs.append(out)
    change = (outputs[0] - outputs[1]).abs().max()
    assert change > 100 * case.tolerance * outputs[0].abs().max(), f"stale audio: outputs differ by {change} only"


def contract_stored_residuals_are_not_shared(case: Case) -> None:
    """Whatever the host does to the tensors it got back, a second reuse of the same residual gives the same result."""
    x, audio = case.tensors(3)
    with running(case, schedule=(True, False, False, True)) as session:
        outputs = []
        for sigma in (1.0, 1.0, 1.0):
            with session.evaluation(sigma):
                out = case.call(case.model, x, 1.0, audio)
                outputs.append(out.clone())
                out.fill_(1e6)
    assert_close(outputs[2], outputs[1], case.tolerance)


def contract_reuse_writes_into_nothing_it_was_given(case: Case) -> None:
    """A stood-in block returns a new tensor or its input, never an altered input: the host may still hold that.

    Streams that are computed at every step are the host's own affair.
    """
    x, audio = case.tensors(6)
    with running(case, schedule=(True, False, True)) as session:
        with session.evaluation(case.sigmas[0]):
            case.call(case.model, x, case.sigmas[0], audio)
        seen = []

        def look(call, block, state, *ways):
            if block < call.layout.probe_blocks or block not in call.layout.opens:
                return
            given = call.view(block).tensor(state)
            seen.append((block, given, given.clone()))

        with watched(look), session.evaluation(case.sigmas[1]):
            case.call(case.model, x, case.sigmas[1], audio)
        assert session.report.reused == 1 and seen, "nothing was reused"
    for block, given, copy in seen:
        assert torch.equal(given, copy), f"the stand-in of block {block} wrote into its input"


def contract_only_the_video_is_reused(case: Case) -> None:
    """A stood-in block gives the tokens outside the adapter's view back as they came; audio inside it may write to them."""
    x, audio = case.tensors(7)
    with running(case, schedule=(True, False, True)) as session:
        with session.evaluation(case.sigmas[0]):
            case.call(case.model, x, case.sigmas[0], audio)

        def look(call, block, state, *ways):
            live = case.adapter.live(case.bound.blocks[block].module)
            if block < call.layout.probe_blocks or call.layout.audio == "inside" or call.layout.audio == "beside" and live:
                return None
            view = call.view(block)
            given = view.tensor(state).clone()

            def then(out):
                for place in (slice(view.front), slice(view.front + view.count, None)):
                    kept = torch.equal(given[:, place], view.tensor(out)[:, place])
                    assert kept, f"the stand-in of block {block} wrote beside the video"

            return then

        with watched(look), session.evaluation(case.sigmas[1]):
            case.call(case.model, x, case.sigmas[1], audio)
        assert session.report.steps[1].action == "reuse", "nothing was reused"


def contract_branches_do_not_mix(case: Case) -> None:
    """Two branches, apart and batched, get the results that each gets alone."""
    (x1, a1), (x2, a2) = case.tensors(4), case.tensors(5)

    def run(batched: bool) -> list[torch.Tensor]:
        with running(case, schedule=(True, False, False, True)) as session:
            for sigma in case.sigmas[:3]:
                with session.evaluation(sigma):
                    if batched:
                        with session.branch("u", "c"):
                            pair = case.call(case.model, torch.cat([x1, x2]), sigma, torch.cat([a1, a2]))
                        continue
                    singles = []
                    for name, x, audio in (("u", x1, a1), ("c", x2, a2)):
                        with session.branch(name):
                            singles.append(case.call(case.model, x, sigma, audio))
                    pair = torch.cat(singles)
            assert session.report.reused == 2, "nothing was reused"
        return pair

    assert_close(run(batched=True), run(batched=False), case.tolerance)


def contract_interrupt_passes_and_the_next_run_is_clean(case: Case) -> None:
    class Interrupt(BaseException):
        pass

    def clean() -> torch.Tensor:
        with running(case, target_speedup=2.0) as session:
            return sample(case, session)[-1]

    expected = clean()
    for step in (1, 5, 9):
        try:
            with running(case, target_speedup=2.0) as session:
                sample(case, session, seed=9, steps=step)
                with session.evaluation(case.sigmas[step]):
                    raise Interrupt
        except Interrupt:
            pass
        else:
            raise AssertionError("the interrupt was swallowed")
        assert torch.equal(clean(), expected), "an interrupted run left something behind"


def contract_closing_frees_everything(case: Case) -> None:
    with running(case, target_speedup=2.0) as session:
        sample(case, session)
        held = [weakref.ref(t) for a in session.residuals._store._anchors.values() for _, t in a]
        assert held, "nothing was stored"
    gc.collect()
    assert all(ref() is None for ref in held), "residuals outlive the run"
    assert session.residuals.empty


def contract_attributes_are_restored(case: Case) -> None:
    def attributes():
        return [(name, sorted(vars(module))) for name, module in case.model.named_modules()]

    before = attributes()
    with running(case, target_speedup=2.0) as session:
        sample(case, session)
    assert attributes() == before, "attach left attributes on the model"

CONTRACT = (
    contract_segments_cover_every_block_once,
    contract_off_is_bit_identical,
    contract_all_computed_is_bit_identical,
    contract_perfect_residual_gives_the_computed_output,
    contract_audio_is_fresh_on_a_reused_step,
    contract_stored_residuals_are_not_shared,
    contract_reuse_writes_into_nothing_it_was_given,
    contract_only_the_video_is_reused,
    contract_branches_do_not_mix,
    contract_interrupt_passes_and_the_next_run_is_clean,
    contract_closing_frees_everything,
    contract_attributes_are_restored,
)
