"""The encoder's one look at a picture of any size, a strip of tokens at a time. [ours]

`net.encode` holds every token of every window at once. Here the windows of one row are encoded and blended, and their
tokens wait in `Rows`. Then the fusion (model/fusion.py) runs over them twice: for g and the attention pooling, which
give z, and for the guide map of the rows that a band of tiles needs. Sums are kept in float64; so z, guide map and
points are those of `net.encode` up to rounding (about 1e-6).
Legend: D token width, C channels, H W pixels, h w token map, T tokens, K classes, L layers, E experts.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images.rows import Pixels, Rows, reflected
from ..model import places, windows
from ..model.network import SLERIR, SMALLEST
from ..model.own import pushed
from ..model.router import Trace
from .statistics import statistics

STRIP = 32  # rows of tokens at a time
COLUMNS = 128  # tokens of a strip that the stem makes at a time
WINDOWS = 64  # attention windows at a time


def padded(model: SLERIR, x_BCHW: Tensor) -> Tensor:
    """On the network's device, in a size that it takes. In float32: the network computes in the type of its weights."""
    x = x_BCHW.to(next(model.parameters()).device)
    for dim in (-2, -1):
        n = x.shape[dim]
        target = -(-max(n, SMALLEST) // model.multiple) * model.multiple
        x = x if target == n else x.index_select(dim, reflected(0, target, n).to(x.device))
    return x


class Look:
    """z, guide map and points of one picture; `pixels` is padded to what the network takes."""

    def __init__(self, net: SLERIR, pixels: Pixels, folder=None):
        self.net, self.pixels = net, pixels
        s = net.cfg.stride
        self.h, self.w = pixels.height // s, pixels.width // s
        self.device = next(net.parameters()).device
        self.dtype = net.encoder.cls.dtype
        number = "float32" if self.dtype != torch.float64 else "float64"
        self.tokens = Rows((self.h, self.w, net.cfg.token_width), number, folder)
        cls_1D, self._sum_p, sum_patch = self._encode()
        count = self.h * self.w
        self.g = net.glgf.centre(cls_1D, (self._sum_p / count).to(self.dtype))
        self.push = None
        if net.own is not None:
            mean = (sum_patch / count).float()
            features = torch.cat([cls_1D.float(), mean, statistics(pixels).to(self.device)], dim=1)
            self.push = net.own.push(features, net.router.anchors)
        self.embedding = self._embedding()

    # --- first run: the tokens

    def _encode(self) -> tuple[Tensor, Tensor, Tensor]:
        """Fill `tokens`; (CLS (1, D), sum of p (1, D), sum of the tokens (1, D)), the sums over all places."""
        encoder, w = self.net.encoder, self.w
        layout = windows.plan(self.h, w, encoder.window)
        (high, wide), lefts = layout.size, layout.lefts
        zeros = torch.zeros(1, self.net.cfg.token_width, dtype=torch.float64, device=self.device)
        cls_sum, p_sum, patch_sum = zeros, zeros, zeros
        raw = torch.zeros(1, zeros.shape[1], 0, w, device=self.device, dtype=self.dtype)  # made, from row `first` on
        first, total, weight = 0, None, None
        ramp = windows.ramp(high, raw)[:, None] * windows.ramp(wide, raw)
        for n, top in enumerate(layout.tops):
            raw, first = raw[:, :, top - first :], top
            while first + raw.shape[2] < top + high:
                start = first + raw.shape[2]
                raw = torch.cat([raw, self._embed(start, min(start + STRIP, self.h))], dim=2)
            row_layout = windows.Layout((high, w), (high, wide), (0,), lefts)
            parts = windows.split(raw[:, :, :high], row_layout)
            done = [encoder.attend(some) for some in parts.split(WINDOWS)]
            cls_sum = cls_sum + torch.cat([cls for cls, _ in done]).double().sum(0, keepdim=True)
            parts = torch.cat([tokens for _, tokens in done])
            if layout.count == 1:
                total, weight = parts, torch.ones_like(ramp)
            else:
                before = (total, weight) if n else (raw.new_zeros(1, parts.shape[1], 0, w), raw.new_zeros(0, w))
                total, weight = (F.pad(t, (0, 0, 0, high - t.shape[-2])) for t in before)
                for part, left in zip(parts, lefts, strict=True):
                    total[0, :, :, left : left + wide] += part * ramp
                    weight[:, left : left + wide] += ramp
            until = high if n + 1 == len(layout.tops) else layout.tops[n + 1] - top  # no later window reaches these
            patch_1Dhw = total[:, :, :until] / weight[:until]
            p_sum, patch_sum = p_sum + self._p_sum(patch_1Dhw), patch_sum + patch_1Dhw.double().sum((2, 3))
            self.tokens.write(top, patch_1Dhw[0].permute(1, 2, 0).cpu().to(_kept(self.dtype)).numpy())
            total, weight = total[:, :, until:], weight[until:]
        return (cls_sum / layout.count).to(self.dtype), p_sum, patch_sum

    def _embed(self, start: int, stop: int) -> Tensor:
        """(1, D, rows, w) of the stem, in blocks with their surroundings."""
        s, reach, blocks = self.net.cfg.stride, self.net.encoder.reach, []
        top, bottom = max(start - reach, 0), min(stop + reach, self.h)
        for column in range(0, self.w, COLUMNS):
            left, right = max(column - reach, 0), min(column + COLUMNS + reach, self.w)
            part = self.pixels.part(top * s, bottom * s, left * s, right * s)[None].to(self.device)
            block = self.net.encoder.embed(part)
            blocks.append(block[:, :, start - top : stop - top, column - left : column - left + COLUMNS])
        return torch.cat(blocks, dim=3)

    def _p_sum(self, patch_1Dhw: Tensor) -> Tensor | int:
        glgf = self.net.glgf
        if glgf.mode in ("full", "cls_only"):
            return 0
        return glgf.local_in(patch_1Dhw.flatten(2).transpose(1, 2)).double().sum(1)

    # --- later runs

    def _m(self, top: int, bottom: int) -> Tensor:
        """(1, T, D) guide tokens of these rows."""
        glgf, count = self.net.glgf, (bottom - top) * self.w
        if glgf.mode == "cls_only":
            return glgf.mixed(self.g, None, count)[0]
        patches = torch.from_numpy(self.tokens.read(top, bottom)).to(self.device, self.dtype)
        return glgf.mixed(self.g, glgf.local_in(patches.flatten(0, 1)[None]), count)[0]

    def _embedding(self) -> Tensor:
        """(1, d_z) z, by a softmax over all places whose largest value is corrected as it comes."""
        glgf, r = self.net.glgf, self.g
        if glgf.mode in ("full", "patch_only"):
            largest, weight, pooled = float("-inf"), 0.0, torch.zeros_like(self.g, dtype=torch.float64)
            for top in range(0, self.h, STRIP):
                m = self._m(top, min(top + STRIP, self.h))
                score = glgf.score(self.g, m)[0].double()
                new = max(largest, score.max().item())
                old, share = torch.tensor(largest - new).double().exp().item(), (score - new).exp()
                weight, pooled = weight * old + share.sum(), pooled * old + share[None] @ m[0].double()
                largest = new
            r = self.g + glgf.out((pooled / weight).to(self.g.dtype))
        z = glgf.point(r)[0]
        return z if self.push is None else pushed(z, self.push.to(z.dtype))

    def guide(self, top: int, bottom: int) -> Tensor | None:
        """(1, C, bottom - top, w) guide map of these rows of tokens."""
        glgf = self.net.glgf
        if glgf.guide is None:
            return None
        start, stop = max(top - 1, 0), min(bottom + 1, self.h)
        m = self._m(start, stop).transpose(1, 2).unflatten(2, (-1, self.w))
        return glgf.guide(m)[:, :, top - start : bottom - start]

    def local(self, top: int, bottom: int) -> Tensor:
        """(1, d_z, bottom - top, w) the point of each place."""
        local = self.net.glgf.local(self._m(top, bottom))
        if self.push is not None:
            local = pushed(local, self.push[:, None].to(local.dtype))
        return local.transpose(1, 2).unflatten(2, (-1, self.w))

    def points(self, top: int, bottom: int) -> Tensor:
        """(1, d_z, bottom - top, w) what chooses the experts of each place."""
        reach = places.SMOOTH // 2
        start, stop = max(top - reach, 0), min(bottom + reach, self.h)
        return places.points(self.local(start, stop))[:, :, top - start : bottom - start]

    # --- the route

    def route(self, path: Tensor | None, by_place: bool, maps: bool) -> tuple[Trace, dict[str, int]]:
        """(trace of one row, number of places that are nearest to each class).

        maps: also `local_angle` and the maps of routes per place, in full (about 2 bytes per pixel of the picture);
        without it `path_map` alone, of uint8.
        """
        net = self.net
        path = None if path is None else path.to(self.device)
        keys = [self._key()] if net.cfg.router == "random" else None
        trace = net.router.route(self.embedding, path, None, keys)
        by_place = by_place and path is None and net.cfg.experts > 1
        counts = torch.zeros(len(net.router.names), dtype=torch.int64)
        share_1LE = 0
        strips = [(top, min(top + STRIP, self.h)) for top in range(0, self.h, STRIP)]
        angles = []
        for top, bottom in strips:
            angle = net.router.local_angles(self.local(top, bottom)).cpu()
            counts += angle.argmin(dim=1).flatten().bincount(minlength=len(counts))
            if maps:
                angles.append(angle)
            if by_place:
                points = self.points(top, bottom)
                share_1LE = share_1LE + places.shares(points, net.router.pins) * ((bottom - top) / self.h)
        if maps:
            trace = replace(trace, local_angle=torch.cat(angles, dim=2))
        if by_place:
            choices = [self._choose(top, bottom, share_1LE, maps) for top, bottom in strips]
            path_map, probability = (torch.cat(part, dim=2) for part in zip(*choices, strict=True))
            trace = replace(trace, path_map=path_map, place_probability=probability if maps else None)
        return trace, {name: count for name, count in zip(net.router.names, counts.tolist(), strict=True) if count}

    def _choose(self, top: int, bottom: int, share_1LE: Tensor, maps: bool) -> tuple[Tensor, Tensor]:
        router = self.net.router
        path, probability = places.choose(self.points(top, bottom), router.pins, router.temperature, share_1LE)
        return path.cpu() if maps else path.to(torch.uint8).cpu(), probability.cpu() if maps else torch.empty(1, 1, 0)

    def _key(self) -> int:
        """The seed that `net.route` takes for the router `random`: a checksum of the padded picture."""
        key, pixels, strip = 0, self.pixels, STRIP * self.net.cfg.stride
        for channel in range(3):
            for top in range(0, pixels.height, strip):
                x = pixels.part(top, min(top + strip, pixels.height), 0, pixels.width)[channel]
                key = zlib.crc32(x.cpu().contiguous().numpy().tobytes(), key)
        return key


def _kept(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
