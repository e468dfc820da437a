"""Cost formulas of all families at true size, against PyTorch's operation counter."""

import pytest

from bench import families
from bench.families_at_true_size import ELSEWHERE, FAMILIES, Absent
from tests.conftest import ROOT

pytestmark = [pytest.mark.host, pytest.mark.once]


@pytest.mark.parametrize("family", FAMILIES, ids=[family.title for family in FAMILIES])
def test_the_formula_counts_what_the_counter_counts(comfy, family):
    try:
        of = families.sized(family)
    except Absent as reason:
        pytest.skip(str(reason))
    assert of.cost.full == pytest.approx(families.counted(of), rel=families.TOLERANCE)
    row = families.row(of, with_counter=False)
    assert families.missed([row]) == [] and row["10 of 40"] > row["8 of 20"] > 1
    assert row["GiB at 0.4"] <= row["GiB at 1"]


def test_a_formula_that_is_off_is_told():
    rows = [{"model": "a", "formula / counter": 1.029}, {"model": "b", "formula / counter": 0.969}, {"model": "c"}]
    assert families.missed(rows) == ["b: formula / counter is 0.969"]


def test_every_family_that_is_known_is_in_the_table(comfy):
    known = {adapter.name for adapter in comfy.core.model.adapters._REGISTRY.values()}
    assert known == {family.name for family in FAMILIES} | set(ELSEWHERE)
    assert all("FlopCounterMode" in (ROOT / file).read_text() for file in ELSEWHERE.values())
