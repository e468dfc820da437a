"""Tensors at rest in pinned host memory, which a GPU reads and writes by itself while it computes.

PyTorch takes blocks of it up to a power of two, 512 MiB for a residual of 305 MiB. A tensor is therefore kept in pieces that
waste little.
"""

import torch

SPARE = 1 / 16  # of a tensor's size, the most that rounding may add to it


def pieces(size: int) -> list[int]:
    """`size` bytes as powers of two, largest first; the last is what is left once taking that up to a power of two is
    within SPARE: 305 MiB are 256 and 49.
    """
    found, left = [], size
    while left:
        up = 1 << (left - 1).bit_length()
        whole = left if up - left <= SPARE * size else up // 2
        found.append(whole)
        left -= whole
    return found


class Pinned:
    """A copy of a tensor of any shape. Copying to and fro is queued on the tensor's device, nothing waits for it."""

    def __init__(self, tensor: torch.Tensor, pin: bool = True):
        self.shape, self.dtype, self.nbytes = tensor.shape, tensor.dtype, tensor.nbytes
        self._sizes = [size // tensor.element_size() for size in pieces(tensor.nbytes)]
        self._pieces = [torch.empty_like(part, device="cpu", pin_memory=pin).copy_(part, non_blocking=True)
                        for part in tensor.reshape(-1).split(self._sizes)]  # fmt: skip

    def to(self, device: torch.device, non_blocking: bool = True) -> torch.Tensor:
        """A new tensor."""
        made = torch.empty(self.shape, dtype=self.dtype, device=device)
        for part, piece in zip(made.view(-1).split(self._sizes), self._pieces):
            part.copy_(piece, non_blocking=non_blocking)
        return made
