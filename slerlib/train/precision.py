"""Number formats: which one, why, and a step of the optimiser in it. The routing stays in float32 in all of them.

Weights, gradients and moments are float32 always; bf16 and fp16 are autocast, fp16 with a scaled loss.
"""

from __future__ import annotations

import contextlib
import copy
import math
import types
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..model.network import SLERIR

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 2.0**-10  # of the loss in fp16; where gradients overflow at this scale too, a lower one does not help


def choose_precision(asked: str, device: torch.device) -> tuple[torch.dtype, str]:
    """(dtype, why). `auto` on a GPU: bf16 where the chip has it, else fp16; fp32 on everything else."""
    if asked != "auto":
        return _DTYPES[asked], f"{asked}: as asked"
    if device.type == "cuda":
        chip = f"SM {'.'.join(map(str, torch.cuda.get_device_capability(device)))}"
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, f"bf16: CUDA {chip} supports it"
        return torch.float16, f"fp16 with a scaled loss: CUDA {chip} has no bf16"
    return torch.float32, "fp32: the safe choice on this device"


class Precision:
    """The number format of a run."""

    def __init__(self, asked: str, device: torch.device):
        self.device = device
        self.dtype, self.reason = choose_precision(asked, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def clip(
        self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], limit: float
    ) -> tuple[float, bool]:
        """Clip the norm of all gradients together; returns (norm before, whether `update` may follow).

        An fp16 gradient that overflows is no fault: `update` leaves the weights alone then and halves the scale.
        """
        self.scaler.unscale_(optimiser)
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        return norm, math.isfinite(norm) or (self.scaler.is_enabled() and self.scaler.get_scale() > SMALLEST_SCALE)

    def update(self, optimiser: torch.optim.Optimizer) -> None:
        self.scaler.step(optimiser)
        self.scaler.update()


def compile_blocks(net: SLERIR, crop: int, precision: Precision) -> str:
    """torch.compile for the experts and the encoder, which are most of a step; returns what was done, or why not.

    The routing between them stays plain Python: which experts run, and with how many images, differs from step to step.
    An expert of each resolution and the encoder are tried first, as copies, forward and backward, so that a missing
    or failing compiler leaves everything as it was. A compiled network is compiled again.
    """
    try:
        for level, stage in enumerate(net.stages[:4]):
            side = crop >> level
            x = torch.zeros(2, net.cfg.width << level, side, side, device=precision.device)
            _try(stage.experts[0], x.to(memory_format=torch.channels_last), precision)
        _try(net.encoder, torch.zeros(2, 3, net.cfg.context, net.cfg.context, device=precision.device), precision)
    except Exception as error:  # training goes on without the compiler
        reason = (str(error).strip() or "no message").splitlines()[0]
        return f"not compiled: torch.compile failed with {type(error).__name__}: {reason}"
    for module in (net.encoder, *(expert for stage in net.stages for expert in stage.experts)):
        _compile(module)
    return "experts and encoder compiled, which makes the first steps slow"


def _try(module: nn.Module, x_BCHW: Tensor, precision: Precision) -> None:
    """Compile a copy and take it forward and backward; raises whatever the compiler does."""
    trial = copy.deepcopy(module)
    _compile(trial)
    with precision.autocast():
        y = trial(x_BCHW)
    total = sum(part.float().sum() for part in (y if isinstance(y, tuple) else (y,)))
    torch.autograd.grad(total, list(trial.parameters()))


def _compile(module: nn.Module) -> None:
    """Compile for any number of images, but fixed sides: open ones leave strides of channels-last maps unordered."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)  # shapes share their code
    plain = types.MethodType(type(module).forward, module)  # module.forward may be a compiled one, its own or a copy's
    compiled = torch.compile(plain, dynamic=False)

    def forward(x_BCHW: Tensor):
        torch._dynamo.maybe_mark_dynamic(x_BCHW, 0)
        return compiled(x_BCHW)

    module.forward = forward
