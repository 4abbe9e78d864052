"""Routes per place: every place of the picture chooses its own experts [ours].

A place is a token, 8 x 8 pixels in `tiny`. It chooses by the mean of the points around it, so that one odd token starts
no island. The picture as a whole is in every point already, by the gate a_i of the fusion:

    q_i = normalise(mean of z_j over SMOOTH x SMOOTH places j around i)     e*_l(i) = nearest pin to q_i

At each layer the experts that some place chose run on the whole map, and their results are blended where their places
meet. Where all places agree one expert a layer runs, as with one path.
Legend: B batch, L layers, E experts, C channels, H W pixels of a level, h w token map.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 5  # places a side
FEWEST = 0.02  # share of the places; an expert that fewer places choose does not run


def points(local_BDhw: Tensor) -> Tensor:
    """(B, D, h, w) unit vectors q."""
    near = F.avg_pool2d(local_BDhw, SMOOTH, stride=1, padding=SMOOTH // 2, count_include_pad=False)
    return F.normalize(near, dim=1)


def choose(points_BDhw: Tensor, pins_LED: Tensor, temperature: float, share_BLE: Tensor | None = None):
    """((B, L, h, w) int64 experts, (B, L, h, w) their probability at each place).

    Experts with less than FEWEST of the places give them to the nearest of the others. share_BLE: what `shares` gives
    for the whole picture, where the points are those of a part.
    """
    paths, chances = [], []
    with torch.autocast(points_BDhw.device.type, enabled=False):
        for n, pins_ED in enumerate(pins_LED):
            similarity = _similarity(points_BDhw, pins_ED)
            share_BE = _share(similarity) if share_BLE is None else share_BLE[:, n]
            few = (share_BE < FEWEST)[:, :, None, None]
            path = similarity.masked_fill(few, float("-inf")).argmax(dim=1)
            probability = (similarity / temperature).softmax(dim=1)
            paths.append(path)
            chances.append(probability.gather(1, path[:, None]).squeeze(1))
    return torch.stack(paths, dim=1), torch.stack(chances, dim=1)


def shares(points_BDhw: Tensor, pins_LED: Tensor) -> Tensor:
    """(B, L, E) share of the places that are nearest to the pin of each expert."""
    with torch.autocast(points_BDhw.device.type, enabled=False):
        return torch.stack([_share(_similarity(points_BDhw, pins_ED)) for pins_ED in pins_LED], dim=1)


def _similarity(points_BDhw: Tensor, pins_ED: Tensor) -> Tensor:
    return torch.einsum("bdhw,ed->behw", points_BDhw, pins_ED.to(points_BDhw.dtype))


def _share(similarity_BEhw: Tensor) -> Tensor:
    return one_hot(similarity_BEhw.argmax(dim=1), similarity_BEhw.shape[1]).mean(dim=(2, 3))


def one_hot(path_Bhw: Tensor, experts: int) -> Tensor:
    """(B, E, h, w) 1 where the expert was chosen, else 0."""
    return torch.stack([path_Bhw == e for e in range(experts)], dim=1).float()


def present(path_BLhw: Tensor, experts: int) -> list[list[list[int]]]:
    """Experts that run for each layer and image: [layer][image] -> ascending numbers. One look at the device."""
    there = torch.stack([(path_BLhw == e).flatten(2).any(dim=2) for e in range(experts)], dim=2)
    return [[[e for e, yes in enumerate(image) if yes] for image in layer] for layer in there.transpose(0, 1).tolist()]


def resized(map_BNhw: Tensor, height: int, width: int) -> Tensor:
    """Bilinear values at every pixel."""
    if map_BNhw.shape[-2:] == (height, width):
        return map_BNhw
    return F.interpolate(map_BNhw, size=(height, width), mode="bilinear", align_corners=False)
