"""Blocks that are given the same again: computed once, below any hook, copies handed out. No weights."""

import torch

from bench.remember import Memory


class Doubling(torch.nn.Module):
    """Counts how often it computes."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, hidden: torch.Tensor, length: int) -> torch.Tensor:
        self.calls += 1
        return 2 * hidden


def test_the_same_inputs_are_computed_once_and_what_is_handed_out_may_be_written_to():
    blocks, hidden = torch.nn.ModuleList([Doubling(), Doubling()]), torch.arange(3.0)
    memory = Memory(blocks)
    for _ in range(2):  # entered again, it still knows
        with memory:
            for block in blocks:
                block(hidden, 3).zero_()
            assert blocks[0](hidden.clone(), 3).tolist() == [0, 2, 4]
            assert blocks[0](hidden + 1, 3).tolist() == [2, 4, 6]
        assert [block.calls for block in blocks] == [2, 1]
    assert [type(block) for block in blocks] == [Doubling] * 2
    blocks[0](hidden, 3)
    assert blocks[0].calls == 3


def test_other_shapes_types_and_numbers_are_other_inputs():
    blocks, hidden = torch.nn.ModuleList([Doubling()]), torch.zeros(4)
    with Memory(blocks):
        for given in ((hidden, 1), (hidden, 2), (hidden.reshape(2, 2), 1), (hidden.int(), 1), (-hidden, 1)):
            blocks[0](*given)
    assert blocks[0].calls == 5  # -0.0 is not 0.0


def test_a_hook_on_the_block_itself_stands_above():
    blocks, seen = torch.nn.ModuleList([Doubling()]), []
    with Memory(blocks):
        below = blocks[0].forward
        blocks[0].forward = lambda hidden, length: seen.append(length) or below(hidden, length)
        for _ in range(2):
            blocks[0](torch.ones(1), 1)
        del blocks[0].forward
    assert seen == [1, 1] and blocks[0].calls == 1


def test_what_was_wanted_last_is_kept():
    blocks = torch.nn.ModuleList([Doubling()])
    with Memory(blocks, most=2) as memory:
        for value in (1.0, 2.0, 1.0, 3.0, 1.0, 2.0):  # 3 takes the place of 2
            assert blocks[0](torch.tensor(value), 1).item() == 2 * value
    assert blocks[0].calls == 4 and len(memory.known) == 2
