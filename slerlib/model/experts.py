"""A stage of the network: E experts, of which each image, or each place of it, runs through one. The same code trains
and restores.

Legend: B batch, C channels, H W pixels of this level, E experts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import places


def gate(p: Tensor) -> Tensor:
    """p / stopgrad(p) of probabilities: exactly 1 in value, with the gradient of log p.

    A p that is 0 in float32, that of a far expert on a forced or random path, has no gradient.
    """
    p = p.clamp(min=torch.finfo(p.dtype).tiny)
    return p / p.detach()


class ExpertStage(nn.Module):
    """E copies of the blocks of one stage, each with parameters of its own [paper]; each image runs through one.

    `make` builds one expert. The batch is grouped by expert once per stage; an expert that no image chose does not run.
    """

    def __init__(self, experts: int, make: Callable[[], nn.Module]):
        super().__init__()
        self.experts = nn.ModuleList(make() for _ in range(experts))

    def forward(self, x_BCHW: Tensor, path_B: list[int] | Tensor, gate_B: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) by the expert `path_B[b]` of each image.

        path_B: numbers; or a tensor, where values must not be looked at (`torch.export`): then all experts run, and
            the result of one is taken.
        gate_B: `gate` of the probabilities, 1 in value, which gives the pins a gradient. It scales the whole output:
            the residual alone is zero at the start, without a gradient for the pins. The ratio is formed first, since
            the other order is not exact.
        """
        used = [0] if len(self.experts) == 1 else path_B if isinstance(path_B, Tensor) else sorted(set(path_B))
        if isinstance(used, Tensor):
            y = self.experts[0](x_BCHW)
            for e, expert in enumerate(self.experts[1:], 1):
                y = torch.where((path_B == e).view(-1, 1, 1, 1), expert(x_BCHW), y)
        elif len(used) == 1:
            y = self.experts[used[0]](x_BCHW)
        else:
            # split and cat, because their backward passes are cat and split: no zero-filled scatter as with indexing
            images = x_BCHW.permute(0, 2, 3, 1).split(1)
            done: list = [None] * len(images)
            for e in used:
                members = [b for b, chosen in enumerate(path_B) if chosen == e]
                group = torch.cat([images[b] for b in members]).permute(0, 3, 1, 2)
                for b, image in zip(members, self.experts[e](group).permute(0, 2, 3, 1).split(1), strict=True):
                    done[b] = image
            y = torch.cat(done).permute(0, 3, 1, 2)
        return y if gate_B is None else y * gate_B.view(-1, 1, 1, 1).to(y.dtype)

    def blended(
        self, x_BCHW: Tensor, path_Bhw: Tensor, present: list[list[int]] | None, gate_Bhw: Tensor | None = None
    ) -> Tensor:
        """Map (B, C, H, W) by the expert of each place: each expert runs on the whole map, and the results are blended
        where places of two experts meet.

        present: numbers of the experts of each image; None where values must not be looked at, then all of them run.
        gate_Bhw: as in `forward`, of each place. An image with one expert keeps the bits that `forward` gives.
        """
        size, count = x_BCHW.shape[-2:], len(self.experts)
        images = x_BCHW.permute(0, 2, 3, 1).split(1)
        present = [list(range(count))] * len(images) if present is None else present
        done: list = [None] * len(images)
        for e in sorted({e for numbers in present for e in numbers}):
            members = [b for b, numbers in enumerate(present) if e in numbers]
            group = torch.cat([images[b] for b in members]).permute(0, 3, 1, 2)
            for b, image in zip(members, self.experts[e](group).permute(0, 2, 3, 1).split(1), strict=True):
                if len(present[b]) > 1:
                    share = places.resized((path_Bhw[b] == e).to(image.dtype)[None, None], *size)
                    image = image * share.permute(0, 2, 3, 1)
                done[b] = image if done[b] is None else done[b] + image
        y = torch.cat(done).permute(0, 3, 1, 2)
        if gate_Bhw is None:
            return y
        return y * (1 + places.resized((gate_Bhw - 1)[:, None], *size)).to(y.dtype)  # resized zeros are exact, ones not

    def mixture(self, x_BCHW: Tensor, probability_BE: Tensor) -> Tensor:
        """The sum of all experts, weighted by `probability_BE` (router `dense`)."""
        return sum(
            expert(x_BCHW) * p.view(-1, 1, 1, 1)
            for expert, p in zip(self.experts, probability_BE.unbind(1), strict=True)
        )
