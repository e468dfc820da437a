"""A training step's forward and backward pass as one recorded CUDA graph.

The transformer is so small that a GPU waits for the next of some thousand small kernels most of the time; a recording is
replayed without that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM_UPS, MOST_OFF = 3, 0.05
Inputs = dict[str, Tensor]


class Recorded:
    """Loss and gradients of `loss_of(inputs)` for inputs of the same shapes as at first; what it draws is not recorded."""

    def __init__(self, model: nn.Module, loss_of: Callable[[Inputs], Tensor], inputs: Inputs):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                model.zero_grad(set_to_none=True)
                loss_of(self.inputs).backward()
            expected = [None if p.grad is None else p.grad.clone() for p in self.parameters]
            model.zero_grad(set_to_none=True)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = loss_of(self.inputs)
            self.loss.backward()
        self.grads = [parameter.grad for parameter in self.parameters]
        self.loss = self.loss.detach()
        self.check(expected)

    def check(self, expected: list[Tensor | None]) -> None:
        """Raise unless a replay gives the gradients that were computed without a recording."""
        for _ in range(2):  # a second replay must not add to the first
            self(self.inputs)
        torch.cuda.synchronize()
        if [grad is None for grad in expected] != [grad is None for grad in self.grads]:
            raise RuntimeError("the recording reaches other parameters")
        pairs = [(a, b) for a, b in zip(expected, self.grads) if a is not None]
        off = torch.stack([(a - b).norm() for a, b in pairs]).norm() / torch.stack([a.norm() for a, _ in pairs]).norm()
        if not off < MOST_OFF:
            raise RuntimeError(f"the recording's gradients are off by {off:.3f}")

    def __call__(self, inputs: Inputs) -> Tensor:
        """Leaves the gradients at the parameters; the loss, which has no gradient of its own."""
        if inputs is not self.inputs:
            torch._foreach_copy_(list(self.inputs.values()), [inputs[name] for name in self.inputs])
        self.graph.replay()
        for parameter, grad in zip(self.parameters, self.grads):
            parameter.grad = grad
        return self.loss.clone()

    def milliseconds(self, times: int = 5) -> float:
        """How long a replay takes."""
        torch.cuda.synchronize()
        began = time.monotonic()
        for _ in range(times):
            self.graph.replay()
        torch.cuda.synchronize()
        return (time.monotonic() - began) / times * 1000
