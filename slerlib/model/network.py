"""SLERIR: the whole network.

    net = slerlib.SLERIR(slerlib.config.recipe("tiny").model)
    y, trace = net(x_BCHW, return_trace=True)

The order of work, one method each, called by `forward`:

    pad        the image to a multiple of the sizes that the network works in
    encode     image -> point on the sphere of degradations, and guide map        (encoder.py, fusion.py)
    route      point -> path: one expert for each of the 8 layers                 (router.py)
    backbone   image, guide map and path -> restored image                        (experts.py, blocks.py)

The backbone is a U-Net of 8 stages, each with E experts; everything between the stages is shared [inferred]:

    level 0, H x W        intro, enc1 ------------------------------- dec1, refine, outro; the image is added
    level 1, H/2 x W/2        enc2 ------------------------- dec2
    level 2, H/4 x W/4            enc3 ---------------- dec3
    level 3, H/8 x W/8                     latent

Legend: B batch, C channels, H W pixels, h w token map, L layers (= stages), E experts, K classes.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import sphere
from ..config import LAYERS, STAGE_NAMES, ModelConfig
from ..errors import UserError
from . import places
from .blocks import NAFBlock, RestormerBlock
from .encoder import TokenEncoder
from .experts import ExpertStage, gate
from .fusion import GLGF, Encoding, Injection, injected_stages
from .own import OwnClasses, pushed
from .paths import read_path
from .pointwise import PixelConv
from .router import Router, Trace, bounded

LEVELS = (0, 1, 2, 3, 2, 1, 0, 0)  # of the stages; level n works at 1 / 2^n of the resolution
SMALLEST = 16  # pixels a side


class SLERIR(nn.Module):
    """Restores (B, 3, H, W) images in [0, 1]; H and W at least 16, any size.

    Computes in the type of its weights: `half()`, `bfloat16()` and `double()` work. Routes are then chosen in float32
    or float64 from an encoding of that precision, and the image itself is added in its own.
    """

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        least, free = 4 * least_parameters(cfg), psutil.virtual_memory().available
        if least > free:
            raise UserError(
                f"A network must fit into memory; this configuration needs at least {least / 1e9:.0f} GB for its "
                f"weights alone, and {free / 1e9:.0f} GB are free. Lower model.width or model.stages."
            )
        self.cfg, self.tlc_window = cfg, cfg.tlc_window
        c, naf = cfg.width, cfg.block == "naf"
        # channels of the stages: Restormer concatenates its last skip and keeps 2c channels; NAFNet adds its skips
        widths = [c, 2 * c, 4 * c, 8 * c, 4 * c, 2 * c, c if naf else 2 * c, c if naf else 2 * c]
        # built first: the same seed gives the same encoder for any number of experts
        self.encoder = TokenEncoder(cfg)
        self.glgf = GLGF(cfg)
        self.intro = nn.Conv2d(3, c, 3, padding=1, bias=naf)
        self.downs = nn.ModuleList(_down(c << n, naf) for n in range(3))
        self.ups = nn.ModuleList(_up(c << (n + 1), naf) for n in (2, 1, 0))
        self.fuse = (
            nn.ModuleList() if naf else nn.ModuleList(nn.Conv2d(w, w // 2, 1, bias=False) for w in (8 * c, 4 * c))
        )
        self.outro = nn.Conv2d(widths[-1], 3, 3, padding=1, bias=naf)
        self.stages = nn.ModuleList(
            ExpertStage(cfg.experts, lambda n=n: self._expert(n, widths[n])) for n in range(LAYERS)
        )
        self.injections = nn.ModuleDict(
            {name: Injection(cfg.guide_channels, widths[STAGE_NAMES.index(name)]) for name in injected_stages(cfg)}
        )
        self.router = Router(cfg)
        self.own = OwnClasses(cfg.own_classes, cfg.token_width) if cfg.own_classes else None
        if cfg.router == "sphere_stage":  # z_l = normalise(z + bounded(W_l pool(F_l))), W_l = 0 at the start
            self.stage_views = nn.ModuleList(nn.Linear(w, cfg.embedding) for w in widths)
            for view in self.stage_views:
                nn.init.zeros_(view.weight)
                nn.init.zeros_(view.bias)

    def _expert(self, n: int, width: int) -> nn.Module:
        cfg, level = self.cfg, LEVELS[n]
        window = cfg.tlc_window >> level
        if cfg.block == "naf":
            return nn.Sequential(*[NAFBlock(width, window) for _ in range(cfg.stages[n])])
        return nn.Sequential(*[RestormerBlock(width, cfg.heads[level], window) for _ in range(cfg.stages[n])])

    @property
    def multiple(self) -> int:
        """Heights and widths are padded to a multiple of this many pixels."""
        return math.lcm(8, self.cfg.stride)

    @property
    def cell(self) -> int:
        """Pixel grid that tiles keep to, so that tiles and the whole share tokens and TLC cells."""
        return math.lcm(self.multiple, self.tlc_window // 3) if self.tlc_window else self.multiple

    def set_tlc(self, window: int) -> None:
        """Side in pixels, a multiple of 24, of the window for local statistics at test time; 0 = global statistics."""
        if not isinstance(window, int) or window < 0 or window % 24:
            raise UserError(f"A window for local statistics is 0 or a multiple of 24 pixels; got {window}.")
        self.tlc_window = window
        for stage, level in zip(self.stages, LEVELS, strict=True):
            for block in stage.modules():
                if isinstance(block, NAFBlock | RestormerBlock):
                    block.window = window >> level

    def forward(
        self,
        x_BCHW: Tensor,
        path=None,
        labels: Tensor | None = None,
        return_trace: bool = False,
        route_by: str | None = None,
    ):
        """Restore a batch: the image, or (image, `Trace`) with `return_trace`.

        path: forces the experts, in any form of `read_path`. labels: as `Router.label_paths` takes them, for the router
        `oracle` alone. route_by: "image" or "place", where it is to be another than that of the configuration. Raises
        UserError for a batch that `pad` refuses and a path that the network does not have.
        """
        if torch.jit.is_tracing() and self.cfg.experts > 1 and (path is None or isinstance(path, Tensor)):
            raise UserError(
                "torch.jit.trace records one run, and so would freeze the route of its example for every picture; got "
                "a network that chooses its route. Trace fixed_path(model, path) of slerlib.model.export, or use "
                "torch.export.export, which keeps the choice."
            )
        height, width = x_BCHW.shape[-2:]
        x = self.pad(x_BCHW)
        encoding = self.encode(x, route_by=route_by)
        trace = self.route(encoding, path, labels, x)
        y, trace = self.backbone(x, encoding.guide, trace, reroute=path is None)
        y = y[..., :height, :width]
        return (y, trace) if return_trace else y

    def pad(self, x_BCHW: Tensor) -> Tensor:
        """Reflect-pad on the right and below to the multiple the network works in."""
        shape = tuple(x_BCHW.shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < SMALLEST or not x_BCHW.is_floating_point():
            raise UserError(
                f"The network takes (batch, 3, height, width) of floating point in [0, 1], with sides of at least "
                f"{SMALLEST} pixels; got {shape} of {x_BCHW.dtype}. slerlib.restore takes smaller and single images."
            )
        height, width = x_BCHW.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        return F.pad(x_BCHW, (0, right, 0, down), mode="reflect") if down or right else x_BCHW

    def _encoding(self, x_BCHW: Tensor, route_by: str) -> Encoding:
        tokens = self.encoder(x_BCHW)
        encoding = self.glgf(*tokens)
        if self.own is not None:
            push = self.own(x_BCHW, *tokens, self.router.anchors).to(encoding.embedding.dtype)
            local = pushed(encoding.local.permute(0, 2, 3, 1), push[:, None, None].to(encoding.local.dtype))
            embedding = pushed(encoding.embedding, push)
            encoding = replace(encoding, embedding=embedding, local=local.permute(0, 3, 1, 2))
        if route_by == "image" or self.cfg.experts == 1:
            return encoding
        return replace(encoding, points=places.points(encoding.local))

    def encode(
        self,
        x_BCHW: Tensor,
        context_NCHW: Tensor | None = None,
        rows: Tensor | None = None,
        place: Tensor | None = None,
        route_by: str | None = None,
    ) -> Encoding:
        """Embedding, guide map and, for routes per place, the points that choose them.

        context_NCHW: wider views of the images `rows` (N,). Embedding and guide map of these come from the view: the
            guide is cut out where the crop lies, at `place` (N, 2), in pixels, multiples of the token pitch. A crop is
            then treated as inside its whole image, or as one of its tiles. Other images are encoded by themselves.
        route_by: "image" or "place", where it is to be another than that of the configuration.
        """
        route_by = route_by or self.cfg.route_by
        if context_NCHW is None or not len(context_NCHW):
            return self._encoding(x_BCHW, route_by)
        wide = self._encoding(context_NCHW, route_by)
        pitch = self.cfg.stride
        height, width = (side // pitch for side in x_BCHW.shape[-2:])
        corners = (place // pitch).tolist()

        def cut(maps: Tensor | None) -> Tensor | None:
            if maps is None:
                return None
            return torch.stack([m[..., y : y + height, x : x + width] for m, (y, x) in zip(maps, corners, strict=True)])

        wide = replace(wide, guide=cut(wide.guide), gate=cut(wide.gate), points=cut(wide.points))
        if len(rows) == len(x_BCHW):
            return wide
        own = self._encoding(x_BCHW, route_by)
        fields = ("embedding", "feature", "guide", "gate", "points")
        pairs = {name: (getattr(own, name), getattr(wide, name)) for name in fields}
        return replace(own, **{k: a if a is None else a.index_copy(0, rows, b) for k, (a, b) in pairs.items()})

    def route(self, encoding: Encoding, path=None, labels: Tensor | None = None, x_BCHW: Tensor | None = None) -> Trace:
        """Experts of every layer. Only the router `random` reads the image, as the seed of its draw."""
        z = encoding.embedding
        if path is not None:
            path = read_path(path, z.shape[0], self.cfg.experts).to(z.device)
        keys = (
            [zlib.crc32(image.cpu().numpy().tobytes()) for image in x_BCHW]
            if self.cfg.router == "random" and x_BCHW is not None
            else None
        )
        trace = self.router.route(z, path, labels, keys)
        if encoding.points is not None and path is None:
            trace = self.router.place(trace, encoding.points)
        # a training has its own use of the places, in its loss
        if self.training or encoding.local is None:
            return trace
        return replace(trace, local_angle=self.router.local_angles(encoding.local))

    def backbone(
        self, x_BCHW: Tensor, guide_BChw: Tensor | None, trace: Trace, reroute: bool = True, keep: Tensor | None = None
    ) -> tuple[Tensor, Trace]:
        """Run the stages along the path: (restored image, trace). The guide covers the same area as the image.

        H and W are multiples of 8. `reroute` lets the routers that decide on the way do so: `dense`, and `sphere_stage`
        except where `keep` (B, L) is true; without it the path of the trace is run as it is.
        """
        mixed = reroute and self.cfg.router == "dense" and self.cfg.experts > 1
        reroute = reroute and self.cfg.router == "sphere_stage" and self.cfg.experts > 1
        # torch.export allows no look at a value: tensors then choose the experts
        unseen = torch.compiler.is_exporting() or self.cfg.experts == 1

        stations: list[Tensor] = []  # z_l

        def numbers(path: Tensor):
            return path if unseen else path.tolist()

        chosen = trace.place_probability
        if trace.path_map is None:
            paths = numbers(trace.path.T)  # one device synchronisation for all layers
            chosen = trace.probability.gather(2, trace.path[:, :, None]).squeeze(2)
        elif not mixed:
            paths = [None] * LAYERS if unseen else places.present(trace.path_map, self.cfg.experts)
        gates = gate(chosen) if chosen is not None and chosen.requires_grad else None

        def stage(n: int, x: Tensor) -> Tensor:
            nonlocal trace
            name = STAGE_NAMES[n]
            if guide_BChw is not None and name in self.injections:
                x = self.injections[name](x, guide_BChw)
            if mixed:
                return self.stages[n].mixture(x, trace.probability[:, n]).to(self.intro.weight.dtype)
            if trace.path_map is not None:
                return self.stages[n].blended(x, trace.path_map[:, n], paths[n], None if gates is None else gates[:, n])
            if not reroute:
                return self.stages[n](x, paths[n], None if gates is None else gates[:, n])
            # the features serve the restoration alone: what a station sees in them does not change them
            z = trace.embedding + bounded(self.stage_views[n](x.mean(dim=(2, 3)).detach()))
            stations.append(z if self.router.linear_space else sphere.normalise(z))
            trace = self.router.reroute(trace, n, stations[n], keep)
            p = trace.probability[:, n].gather(1, trace.path[:, n, None]).squeeze(1)
            return self.stages[n](x, numbers(trace.path[:, n]), gate(p) if p.requires_grad else None)

        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        f1 = stage(0, self.intro(x_BCHW.to(self.intro.weight.dtype)))
        f2 = stage(1, self.downs[0](f1))
        f3 = stage(2, self.downs[1](f2))
        y = stage(3, self.downs[2](f3))
        y = stage(4, self._join(0, self.ups[0](y), f3))
        y = stage(5, self._join(1, self.ups[1](y), f2))
        y = stage(6, self._join(2, self.ups[2](y), f1))
        y = x_BCHW + self.outro(stage(7, y))
        return y, self.router.with_stations(trace, torch.stack(stations, dim=1)) if stations else trace

    def _join(self, n: int, up: Tensor, skip: Tensor) -> Tensor:
        if self.cfg.block == "naf":
            return up + skip
        both = torch.cat([up, skip], dim=1)
        return self.fuse[n](both) if n < 2 else both


def _down(c: int, naf: bool) -> nn.Module:
    """c -> 2c channels at half the resolution."""
    if naf:
        return nn.Conv2d(c, 2 * c, 2, 2)
    return nn.Sequential(nn.Conv2d(c, c // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def _up(c: int, naf: bool) -> nn.Module:
    """c -> c / 2 channels at twice the resolution."""
    first = PixelConv(c, 2 * c, bias=False) if naf else nn.Conv2d(c, 2 * c, 3, padding=1, bias=False)
    return nn.Sequential(first, nn.PixelShuffle(2))


def least_parameters(cfg: ModelConfig) -> int:
    """A lower bound on the parameters of a network, from its configuration alone."""
    c = cfg.width
    widths = [c, 2 * c, 4 * c, 8 * c, 4 * c, 2 * c, c, c]
    stages = sum(cfg.experts * blocks * 6 * width**2 for blocks, width in zip(cfg.stages, widths, strict=True))
    return stages + cfg.encoder_blocks * 8 * cfg.token_width**2


def parameter_counts(net: SLERIR) -> dict[str, int]:
    """Parameters: `shared`, `stages` (one expert each), `active`, `total` of the backbone; `guidance` is the rest."""

    def count(*modules) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    shared = count(net.intro, net.downs, net.ups, net.fuse, net.outro)
    one = sum(count(stage.experts[0]) for stage in net.stages)
    everything = count(net)
    total = shared + count(net.stages)
    return {"shared": shared, "stages": one, "active": shared + one, "total": total, "guidance": everything - total}


def with_path(trace: Trace, path: Tensor) -> Trace:
    """The trace with another path (exploration, class routes), at all places where it differs; similarities stay."""
    if trace.path_map is None:
        return replace(trace, path=path)
    other, chosen = (path != trace.path)[..., None, None], trace.probability.gather(2, path[..., None])[..., None]
    probability = trace.place_probability
    return replace(
        trace,
        path=path,
        path_map=torch.where(other, path[..., None, None], trace.path_map),
        place_probability=None if probability is None else torch.where(other, chosen, probability),
    )
