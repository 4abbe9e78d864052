"""A network outside slerlib: along one fixed path, for `torch.export`, TorchScript and ONNX.

    from slerlib.model.export import export_onnx, fixed_path

    net = fixed_path(slerlib.load("tiny", "cpu"), "02111200")
    export_onnx(slerlib.load("tiny", "cpu"), "02111200", "tiny.onnx", size=(480, 640))

The path of a picture is the one that `slerlib.restore(..., return_trace=True)` gives for it; `router.class_paths()` has
that of each degradation. The encoder stays, since its guide map says where to work. What an exported network cannot do:
choose its path, take pictures of another size (nothing is padded or tiled), and train.

`torch.export.export(model, (x,))` of the network itself keeps the choice of the path: it then runs all experts of a
layer and takes the result of the nearest, which costs about three times the stages.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import renamed_together
from .network import SLERIR
from .paths import read_path
from .router import Router


class FixedPath(nn.Module):
    """(B, 3, H, W) in [0, 1] -> the restored picture of the same size in [0, 1]; the same as `restore(..., path=)`."""

    def __init__(self, net: SLERIR):
        super().__init__()
        self.net = net

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.net(x_BCHW).clamp(0, 1)


def fixed_path(model: SLERIR, path) -> FixedPath:
    """A copy of the network that holds the experts of one path alone, in evaluation mode.

    path: in any form that `read_path` takes. Raises UserError for a path that the network does not have.
    """
    (row,) = read_path(path, 1, model.cfg.experts).tolist()
    net = copy.deepcopy(model).eval()
    for stage, expert in zip(net.stages, row, strict=True):
        stage.experts = stage.experts[expert : expert + 1]
    # one expert in each layer is a network without a choice, whatever its router was
    net.cfg = dataclasses.replace(net.cfg, experts=1, router="sphere", route_by="image")
    anchors, net.router = net.router.anchors, Router(net.cfg).to(net.router.anchors)
    net.router.anchors.copy_(anchors)
    return FixedPath(net)


def export_onnx(model: SLERIR, path, file: str | os.PathLike, size: tuple[int, int]) -> Path:
    """Write the network along one path as ONNX, for any number of pictures of one size; returns the path of the file.

    size: height and width of the pictures in pixels, each at least 16. The input is `image`, the output `restored`,
        both (B, 3, height, width) float32 in [0, 1].
    Raises UserError without the extra `onnx`, and for a path or a size that the network cannot take.
    """
    net = fixed_path(model, path).cpu().float()
    example = torch.rand(2, 3, *size)  # two: one picture would fix the batch
    net.net.pad(example)  # refuses a size that the network cannot take
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs the packages onnx and onnxscript; {' and '.join(missing)} cannot be imported here. "
            "Install them: pip install 'slerlib[onnx]'."
        )
    with renamed_together(Path(file)) as (part,), torch.no_grad():
        program = torch.onnx.export(
            net,
            (example,),
            input_names=["image"],
            output_names=["restored"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        program.save(part, external_data=False)
    return Path(file)
