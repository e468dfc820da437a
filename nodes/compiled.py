"""Models whose blocks are compiled one by one, by ComfyUI's own wrapper and by nodes that use it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def uncompiled() -> AbstractContextManager:
    """What is called within runs as it is written. Blocks are compiled without guards on transformer_options: one with other
    options would run as it was traced, such as with the picture that a residual stands in for.
    """
    stance = getattr(torch.compiler, "set_stance", None)  # PyTorch 2.6
    return nullcontext() if stance is None else stance("force_eager")
