"""Muon, the optimiser of the hidden matrices (K. Jordan et al. 2024, "Muon: an optimizer for hidden layers").

The momentum of every weight matrix is made nearly orthogonal by five Newton-Schulz steps, so that rare directions
(here: the faint green-magenta axis of a picture) learn as fast as common ones.  `torch.optim.Muon` does that in
bfloat16, 25 times slower than this on a CPU without bfloat16 units, and knows no convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 5


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearly orthogonal matrix that is closest to [..., rows, columns] up to scale, singular values 0.7..1.2."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal, scaled to the root mean square 0.2 that AdamW's updates have.

    Convolutions count as matrices [out, in * kernel].
    """

    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95,
                 weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            changes = shared(self.nesterov(parameters, group["momentum"]))
            changes = [change.view_as(parameter) for parameter, change in zip(parameters, changes)]
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(parameters, changes, alpha=group["lr"])

    def nesterov(self, parameters: list[torch.Tensor], momentum: float) -> list[torch.Tensor]:
        """Update the momenta of weights; the gradients ahead of them as matrices."""
        grads = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, grads, 1 - momentum)
        return [ahead.flatten(1) for ahead in torch._foreach_lerp(grads, momenta, momentum)]


def change_of(ahead: torch.Tensor) -> torch.Tensor:
    """The update of one matrix, or of a stack of them, for a learning rate of one."""
    return orthogonal(ahead) * (0.2 * max(ahead.shape[-2:]) ** 0.5)


def stacked_changes(matrices: list[torch.Tensor]) -> list[torch.Tensor]:
    """The updates of matrices on a GPU, which takes all of one shape at once."""
    alike: dict[torch.Size, list[int]] = {}
    for number, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(number)
    changes = {}
    for numbers in alike.values():
        made = change_of(torch.stack([matrices[number] for number in numbers]))
        changes |= dict(zip(numbers, made.unbind()))
    return [changes[number] for number in range(len(matrices))]


def shared(matrices: list[torch.Tensor]) -> list[torch.Tensor]:
    """The updates of all matrices; training processes divide the work among them."""
    if matrices and matrices[0].is_cuda:
        return stacked_changes(matrices)
    if not torch.distributed.is_initialized():
        return [change_of(matrix) for matrix in matrices]
    here, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    done = [change_of(matrix) if number % count == here else torch.zeros_like(matrix)
            for number, matrix in enumerate(matrices)]
    flat = torch.cat([matrix.flatten() for matrix in done])
    torch.distributed.all_reduce(flat)
    return [part.view_as(matrix) for part, matrix in zip(flat.split([m.numel() for m in matrices]), matrices)]
