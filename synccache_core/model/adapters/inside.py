"""Audio inside the blocks: what hears it refreshed at a computed pass, and refreshes it where blocks are not run."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager

import torch

from ..audio import AudioCall
from ..overrides import override
from ..view import Pass


def by_attribute(audio_op: Callable[[torch.nn.Module, int], tuple[object, str]]):
    """`Adapter.listen` for a model that refreshes audio through one callable of each block: op(hidden, ...) -> hidden.

    audio_op(model, block): the (owner, attribute) of that callable. It is replaced for the pass only.
    """

    @contextmanager
    def listen(one: Pass, call: AudioCall):
        with ExitStack() as stack:
            operations = {}
            for index in call.layout.refresh:
                owner, name = audio_op(one.model, index)
                original = operations[index] = getattr(owner, name)

                def refresh(hidden, *args, _index=index, _run=original, **kwargs):
                    return call.refresh(_index, _run, hidden, *args, **kwargs)

                override(stack, owner, name, refresh)
            call.offer_audio(operations)
            yield

    return listen
