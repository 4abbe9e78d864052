"""What tests of explorers share: an untrained network whose paths differ, and the shown part of a photograph."""

import torch

from slerlib import SLERIR, config

SIDE = 64


def shaken() -> SLERIR:
    """The recipe `tiny`, untrained; its stages start as the identity and are shaken so that paths differ."""
    torch.manual_seed(0)
    net = SLERIR(config.recipe("tiny").model).eval()
    with torch.no_grad():
        torch.nn.init.normal_(net.outro.weight, std=0.05)
        for parameter in net.stages.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net


def crop(clean_CHW: torch.Tensor) -> torch.Tensor:
    """The central SIDE x SIDE pixels."""
    top, left = (clean_CHW.shape[1] - SIDE) // 2, (clean_CHW.shape[2] - SIDE) // 2
    return clean_CHW[:, top : top + SIDE, left : left + SIDE]
