"""What a block is made of, alone: attention on each of PyTorch's backends, the feed-forward's first product also in fp8.

They say what a quicker kernel would change: SyncCache leaves blocks out, so what it takes beside them weighs more then.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

from .scale_model import Shape, Size
from .scale_run import Clock, why

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
}  # fmt: skip
REPEATS = 5
FP8 = torch.float8_e4m3fn


def kernel_rows(shape: Shape, size: Size, device: str) -> Iterator[dict]:
    """A note stands where PyTorch has no such kernel for the device."""
    tokens, like = size.tokens, {"dtype": shape.dtype, "device": device}
    heads = torch.randn(3, 1, shape.heads, tokens, shape.dim // shape.heads, **like)
    for name, backend in BACKENDS.items():
        yield row(f"attention, {name}", size, 4 * tokens**2 * shape.dim, device, partial(attend, backend, heads))
    x, weight, bias = (torch.randn(*of, **like) for of in ((tokens, shape.dim), (shape.ffn, shape.dim), (shape.ffn,)))
    usual = str(shape.dtype).removeprefix("torch.")
    for name, work in {usual: partial(linear, x, weight, bias), "fp8": partial(product, x, weight.to(FP8))}.items():
        yield row(f"feed-forward in, {name}", size, 2 * x.numel() * shape.ffn, device, work)


def row(name: str, size: Size, operations: int, device: str, work: Callable) -> dict:
    made, clock = {"kernel": name, "size": str(size)}, Clock(device)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # PyTorch says at length why it has no kernel
            work()
            seconds = min(clock.seconds(work) for _ in range(REPEATS))
    except (RuntimeError, NotImplementedError) as error:
        return made | {"note": why(error)}
    return made | {"milliseconds": 1000 * seconds, "tflops": operations / seconds / 1e12}


def attend(backend: SDPBackend, heads: torch.Tensor) -> torch.Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(*heads)


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """In fp8, the making of fp8 from x included."""
    one = torch.ones((), device=x.device)
    return torch._scaled_mm(x.clamp(-448, 448).to(FP8), weight.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=True)
