"""A trained network, ready to restore: where it is found, on which device it runs, in evaluation mode."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import nn

from ..checkpoint import load_net
from ..config import RunConfig
from ..errors import UserError
from ..model.network import SLERIR


def load(
    name_or_path: str | os.PathLike, device: str | torch.device | None = None, recipe: str | RunConfig | None = None
) -> SLERIR:
    """A trained network in evaluation mode: a shipped name such as "tiny", or the folder or weights file of a training.

    `device`: where to put it; by default CUDA, then Apple's MPS, then the CPU. `recipe`: name or configuration of the
    network, for a state dict (.pt, .pth, .safetensors) without a card. `model.card` describes the checkpoint.
    Raises UserError for an unknown name, an unreadable file and a device that this machine does not have.
    """
    net, card = load_net(name_or_path, recipe=recipe)
    net = net.to(working_device(device or best_device()), memory_format=torch.channels_last).eval()
    net.card = card
    return net


def best_device() -> str:
    """The first that works here of "cuda", "mps" and "cpu"."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def working_device(device: str | torch.device) -> torch.device:
    """The device, after a tensor was made on it. Raises UserError where this machine cannot."""
    try:
        device = torch.device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # absent, not compiled in, or not the name of a device
        raise UserError(
            f"The device must be one that works here, such as {best_device()!r}; got {str(device)!r} "
            f"({str(error).splitlines()[0]}). Leave it out to take the best one."
        ) from None
    return device


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
