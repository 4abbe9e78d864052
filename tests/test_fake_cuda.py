"""Every recipe computes on a graphics card that is not there: a tensor made on the wrong device is found without one.

Tensors of `FakeTensorMode` have a shape, a type and a device but no numbers, and an operation of tensors on two devices
is refused as on a real card (a convolution is not). Some things need numbers or a real card, and `Stand` answers them:
indexing, by the operations that it consists of, and numbers that Python reads, by zeros. A backward pass needs a build
of torch for real cards; what it makes lies where the forward pass made it.
"""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode

from slerlib import SLERIR, config
from slerlib.train import objectives, stages

CARD = "cuda:0"


class Stand(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__getitem__:
            return taken(*args)
        if func is torch.Tensor.tolist:
            return zeros(args[0].shape)
        if func is torch.Tensor.contiguous:
            return args[0]
        if func in (torch.Tensor.__bool__, torch.Tensor.item):
            return 0
        return func(*args, **(kwargs or {}))


def zeros(shape):
    return [zeros(shape[1:]) for _ in range(shape[0])] if shape else 0


def taken(x, index):
    """x[index]."""
    index = list(index) if isinstance(index, tuple) else [index]
    used = sum(part is not None and part is not Ellipsis for part in index)
    if Ellipsis in [part if part is Ellipsis else 0 for part in index]:
        at = next(n for n, part in enumerate(index) if part is Ellipsis)
        index[at : at + 1] = [slice(None)] * (x.ndim - used)
    axis, chosen = 0, {}
    for part in index:
        if part is None:
            x = torch.ops.aten.unsqueeze(x, axis)
        elif isinstance(part, int):
            x, axis = torch.ops.aten.select(x, axis, part), axis - 1
        elif isinstance(part, slice):
            x = torch.ops.aten.slice(x, axis, part.start, part.stop, part.step or 1)
        else:
            chosen[axis] = torch.as_tensor(part, device=x.device)
        axis += 1
    if not chosen:
        return x
    return torch.ops.aten.index(x, [chosen.get(n) for n in range(max(chosen) + 1)])


@pytest.fixture(autouse=True)
def guard():
    torch._C._ensureCUDADeviceGuardSet()


def on_the_card(net: SLERIR) -> SLERIR:
    """`net.to` would exchange the tensors in place, which those without numbers do not allow."""
    for module in net.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().to(CARD))
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(CARD)
    return net


def batch(cfg: config.RunConfig) -> dict[str, torch.Tensor]:
    """Two samples with their context views; see `Batches` for the keys."""
    k, side, crop = len(cfg.model.classes), cfg.model.context, cfg.data.crop
    tokens = side // cfg.model.stride
    sizes = {"degraded": (2, 3, crop, crop), "clean": (2, 3, crop, crop), "context": (2, 3, side, side),
             "where": (2, tokens, tokens), "colour": (2, 3, tokens, tokens)}  # fmt: skip
    whole = {"label": (2,), "rows": (2,), "place": (2, 2)}
    flags = {"parts": (2, k), "outside": (2, k), "real": (2,)}
    result = {key: torch.rand(size, device=CARD) for key, size in sizes.items()}
    result |= {key: torch.zeros(size, dtype=torch.long, device=CARD) for key, size in whole.items()}
    return result | {key: torch.zeros(size, dtype=torch.bool, device=CARD) for key, size in flags.items()}


@pytest.mark.parametrize("recipe", config.RECIPES)
def test_a_network_and_its_loss_stay_on_the_card(recipe):
    cfg = config.recipe(recipe)
    with FakeTensorMode(), Stand(), torch.no_grad():
        net = on_the_card(SLERIR(cfg.model)).train()
        samples = batch(cfg)
        y, trace = net(samples["degraded"], path="01201201", return_trace=True)
        terms, _ = objectives.restoration_terms(net, cfg, samples, 0, stages.Draws())
    assert y.shape == samples["degraded"].shape
    assert {x.device.type for x in (y, trace.probability, trace.path, *terms.values())} == {"cuda"}


def test_a_tensor_on_the_wrong_device_is_found():
    """What the test above is worth: a constant left behind on the processor stops it."""
    cfg = config.recipe("tiny")
    with FakeTensorMode(), Stand(), torch.no_grad():
        net = on_the_card(SLERIR(cfg.model))
        net.router.pins = torch.nn.Parameter(torch.rand(net.router.pins.shape))
        with pytest.raises(RuntimeError, match="same device"):
            net(torch.rand(1, 3, 64, 64, device=CARD), path="01201201")
