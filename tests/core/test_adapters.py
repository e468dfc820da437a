"""Every adapter keeps the contract of synccache_core.contract.checks. A new family adds one line to CASES."""

from dataclasses import replace

import pytest

from demo.live_toys import toy_live_case, toy_packed_case
from demo.toys import ToyDiT, toy_audio_video_case, toy_case
from synccache_core import StateError, View
from synccache_core.contract import beside_checks, checks, live_checks
from synccache_core.contract.case import running
from synccache_core.contract.checks import check_adapter
from synccache_core.model import adapters
from synccache_core.model.view import video_alone

CASES = {
    "toy_after": lambda: toy_case("after"),
    "toy_after_inplace": lambda: toy_case("after", inplace=True),
    "toy_inside": lambda: toy_case("inside"),
    "toy_inside_inplace": lambda: toy_case("inside", inplace=True),
    "toy_after_behind_others": lambda: toy_case("after", inplace=True, front=3),
    "toy_inside_behind_others": lambda: toy_case("inside", inplace=True, front=3),
    "toy_after_behind_text_later": lambda: toy_case("after", inplace=True, front=1, text=(3, 4)),
    "toy_live": toy_live_case,
    "toy_beside": toy_audio_video_case,
    "toy_packed": toy_packed_case,
    "toy_inside_behind_text_later": lambda: toy_case("inside", inplace=True, front=1, text=(3, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    assert len(check_adapter(CASES[name]())) >= 12


def test_the_contract_is_kept_through_the_door_that_is_given():
    case, configs = toy_case(), []
    attached = case.install

    def door(case, config):
        configs.append(config)
        return attached(case, config)

    assert len(check_adapter(case, install=door)) <= len(configs)


def test_a_second_session_on_a_model_is_refused():
    case = toy_case()
    with running(case), pytest.raises(StateError, match="already attached"), running(case):
        pass


def test_a_class_may_have_adapters_for_some_of_its_models(monkeypatch):
    large = replace(toy_case().adapter, name="large", asks=lambda model, options: {} if len(model.blocks) > 7 else None)
    small = replace(large, name="small", asks=lambda model, options: {} if len(model.blocks) < 7 else None)
    monkeypatch.setattr(adapters, "_REGISTRY", {"large": large, "small": small})
    assert adapters.find(ToyDiT(blocks=8)) is large and adapters.find(ToyDiT(blocks=6, points=(0, 2))) is small
    assert adapters.serve(ToyDiT()).layout(None).unknown


@pytest.mark.parametrize("kind", ["after", "inside"])
def test_an_adapter_that_does_not_say_where_the_video_is_breaks_it(kind):
    """One that says nothing, and one that says it comes first where it does not."""
    for view, broken in ((video_alone, "nothing was stored.*8 tokens"), (first, "relative error")):
        case = toy_case(kind, front=2)
        case.x_shape = (1, 8, 8)  # nothing behind: of 8 tokens the last 6 are the video
        case.adapter = replace(case.adapter, view=view)
        with pytest.raises(AssertionError, match=broken):
            check_adapter(case)


def first(one, block):
    return View(one.grid.tokens, behind=None)


@pytest.mark.parametrize("room", [checks, live_checks, beside_checks])
def test_no_promise_of_the_contract_is_left_out(room):
    assert {check.__name__ for check in room.CONTRACT} == {name for name in vars(room) if name.startswith("contract_")}
