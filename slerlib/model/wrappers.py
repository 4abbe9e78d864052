"""The network inside torch's wrappers."""

from __future__ import annotations

from .network import SLERIR

WRAPPERS = ("_orig_mod", "module")  # where torch.compile keeps a network; DataParallel, DDP and AveragedModel


def unwrapped(model):
    """The SLERIR inside torch.compile, DataParallel, DistributedDataParallel or AveragedModel, however nested.

    Anything else comes back as it is.
    """
    inner = model
    while not isinstance(inner, SLERIR):
        name = next((name for name in WRAPPERS if hasattr(inner, name)), None)
        if name is None:
            return model
        inner = getattr(inner, name)
    return inner
