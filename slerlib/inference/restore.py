"""Restore any picture: file, PIL image, array or tensor in, the same kind and size out.

model = slerlib.load("tiny")
y = slerlib.restore(model, "rainy.jpg")                  # PIL image
y, trace = slerlib.restore(model, x, return_trace=True)  # how it was routed
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..images.arrays import check_range, from_array, to_array
from ..images.files import from_pil, read_image, to_pil
from ..images.rows import Pixels
from ..images.strips import header, read_strips
from ..model.network import SLERIR, SMALLEST
from ..model.paths import read_path
from ..model.router import Trace
from ..model.wrappers import unwrapped
from .evidence import judged, judges, middle
from .load import evaluating
from .look import Look, padded
from .memory import fitting_side, keep_freed_memory
from .stream import ArrayRows, check_finite, on_cpu, restore_rows, restore_to_pil
from .tiles import join, restore_tiled

WHOLE_PIXELS = 1_500_000  # up to this many, tile=None restores an image whole
AUTO_TILE = 768
ROUTE_TILE = 512  # where each tile chooses its own path
SMALLEST_TILE = 64
MOST_PASSES = 3


def restore(
    model: SLERIR,
    x: str | os.PathLike | Image.Image | np.ndarray | Tensor,
    *,
    path: str | Sequence[int] | Tensor | None = None,
    return_trace: bool = False,
    tile: int | None = None,
    route: str | None = None,
    passes: int | str = 1,
):
    """Restore a picture of any size from 1 x 1 pixels up.

    Arguments
    model: from `load`, or any SLERIR, behind torch.compile, DataParallel or AveragedModel too, in float32, float64,
        float16 or bfloat16. It is run in evaluation mode, uncompiled, and left as it was.
    x: path of a file -> PIL image, 8-bit where the file has 16-bit colour, which Pillow lacks (`slerlib restore` keeps
        it, and so do arrays); PIL image -> PIL image of the same mode (palettes become RGB, bilevel ones grey);
        array (H, W) or (H, W, 1 to 4) of uint8, uint16 or float in [0, 1] -> same shape and dtype, alpha untouched;
        float tensor (1|3, H, W) or (B, 1|3, H, W) in [0, 1] -> the same shape, dtype and device.
    path: force the experts: 8 integers, a string such as "01201120", or a (B, 8) tensor.
    return_trace: also return the `Trace` (on the CPU), whose `flags()` say in words what speaks against the result.
    tile: None restores images of up to 1.5 million pixels whole and larger ones in tiles of 768, or smaller ones where
        memory is short (with a warning); 0 = always whole; or the side of a tile in pixels, a multiple of 8 of at least
        64. Memory then follows the tile, apart from the image, the result and the maps of the trace; what the network
        saw waits in temporary files (TMPDIR).
    route: "image" = one path for the whole image; "place" = every place (8 x 8 pixels in `tiny`) has its own path, in
        `trace.path_map`, for damage that differs from place to place; None = what the network was trained for
        (`ModelConfig.route_by`); "tile" = each tile (of 512 pixels, unless `tile` gives the side) is encoded and routed
        by itself; the trace then has a row for each tile, row by row. "place" and "tile" not with a forced path, "tile"
        not with tile=0.
    passes: 1 to 3: so often the network restores, each time its own result, for pictures with several degradations; or
        "auto": until the nearest anchor of the result is `clean`, at most 3 times. `trace.passes` counts them,
        `trace.looks` holds what was seen in each result.
    Returns: the restored picture in [0, 1], or (picture, Trace).
    Raises UserError for input that is no image, has NaN, infinity or values out of range, for bad options, and for a
    picture that needs more memory than there is.
    """
    options = {"path": path, "tile": tile, "route": route, "passes": passes}
    if large := _large(model, x, options):
        y, trace = large
        return (y, trace) if return_trace else y
    if isinstance(x, (str, os.PathLike)):
        x_CHW, meta = read_image(x)
        for note in meta.notes:
            warnings.warn(f"{os.fspath(x)}: {note}", stacklevel=2)
    elif isinstance(x, Image.Image):
        x_CHW, meta = from_pil(x)
    elif isinstance(x, np.ndarray):
        x_CHW = from_array(x)
    elif isinstance(x, Tensor):
        y, trace = restore_batch(model, checked_tensor(x).float(), **options, judge=return_trace)
        y = y if x.shape[-3] == 3 else y.mean(dim=1, keepdim=True)
        y = y.reshape(x.shape).to(x.device, x.dtype)
        return (y, trace) if return_trace else y
    else:
        raise UserError(
            "restore takes the path of an image, a PIL image, a numpy array or a torch tensor; "
            f"got {type(x).__name__}. Convert it to one of these."
        )
    y_BCHW, trace = restore_batch(model, x_CHW[None], **options, judge=return_trace)
    y = to_array(y_BCHW[0], x) if isinstance(x, np.ndarray) else to_pil(y_BCHW[0], meta)
    return (y, trace) if return_trace else y


def _large(model: SLERIR, x, options: dict) -> tuple | None:
    """(restored picture, Trace) of a file or an array of bytes that is larger than `WHOLE_PIXELS`, read by rows."""
    usual = isinstance(x, np.ndarray) and x.dtype in ("uint8", "uint16") and x.ndim in (2, 3) and 0 not in x.shape
    size = header(x) if isinstance(x, (str, os.PathLike)) else (x.shape[1], x.shape[0]) if usual else None
    if size is None or size[0] * size[1] <= WHOLE_PIXELS or not isinstance(unwrapped(model), SLERIR):
        return None
    model = unwrapped(model)
    settings = rows_options(model, *size, **options)
    if not settings["side"]:
        return None
    if note := settings.pop("note"):
        warnings.warn(note, stacklevel=3)
    if isinstance(x, np.ndarray):
        from_array(x[:1, :1])  # refuses what is no image
        y = x.copy()

        def write(top: int, y_CHW: Tensor) -> None:
            y[top : top + y_CHW.shape[1]] = to_array(y_CHW, y[top : top + y_CHW.shape[1]])

        return y, restore_rows(model, ArrayRows(x), write, maps=True, **settings)[0]
    picture = read_strips(x)
    for note in picture.meta.notes:
        warnings.warn(f"{os.fspath(x)}: {note}", stacklevel=3)
    return restore_to_pil(model, picture, **settings)


def rows_options(model: SLERIR, width: int, height: int, held: int = 0, *, path, tile, route, passes) -> dict:
    """Options of `restore`, checked -> those of `restore_rows`, and `note`: why tiles are smaller than asked for.

    held: bytes that the decoder or the encoder of the file holds. Raises UserError for bad ones and a lack of memory.
    """
    side = tile_side(tile, width * height)
    route = checked_route(route, model, tile, path)
    limits = checked_passes(passes, model, path, route)
    side = ROUTE_TILE if route == "tile" and tile is None else side
    side, note = fitting_side(model, width, height, side, tile is not None, held)
    return {"side": side, "path": path, "route": route, "passes": limits, "note": note}


def checked_tensor(x: Tensor) -> Tensor:
    """(1|3, H, W) or (B, 1|3, H, W) -> (B, 3, H, W) in [0, 1], float64 where x is, else float32; or UserError."""
    if not x.is_floating_point():
        hint = "Divide it by 255: x.float() / 255." if x.dtype == torch.uint8 else "Convert it to float32 in [0, 1]."
        raise UserError(f"An image tensor must be floating point with values in [0, 1]; this one is {x.dtype}. {hint}")
    if x.ndim not in (3, 4) or x.shape[-3] not in (1, 3) or 0 in x.shape:
        hint = "Check how it was made."
        if x.ndim == 2:
            hint = "Add the channel with x[None]."
        elif x.ndim in (3, 4) and x.shape[-1] in (1, 3):
            hint = f"Move the channels forward with x.permute({'2, 0, 1' if x.ndim == 3 else '0, 3, 1, 2'})."
        elif x.ndim in (3, 4) and x.shape[-3] == 4:
            hint = "Leave the alpha channel out: x[..., :3, :, :]."
        raise UserError(f"An image tensor must be (3, H, W) or (B, 3, H, W), or 1 for 3; got {(*x.shape,)}. {hint}")
    x = x.detach() if x.dtype == torch.float64 else x.detach().float()
    low, high = torch.aminmax(x)  # NaN wins both
    check_range(low.item(), high.item())
    x = x.clamp(0, 1).reshape(-1, *x.shape[-3:])
    return x.expand(-1, 3, -1, -1)


def restore_batch(
    model: SLERIR,
    x_BCHW: Tensor,
    *,
    path=None,
    tile: int | None = None,
    route: str | None = None,
    passes: int | str = 1,
    judge: bool = False,
    tell: Callable[[str], object] | None = None,
) -> tuple[Tensor, Trace]:
    """(B, 3, H, W) float32 in [0, 1], already checked -> (restored batch, Trace on the CPU), as `restore`.

    judge: whether the trace gets evidence of damage unlike the trained, which costs another look of the encoder.
    tell: called with the note why tiles are smaller than asked for; without it the note is a warning.
    """
    model = unwrapped(model)
    if not isinstance(model, SLERIR):
        raise UserError(f"The model must be a SLERIR network; got {type(model).__name__}. Try slerlib.load('tiny').")
    height, width = x_BCHW.shape[-2:]
    settings = rows_options(model, width, height, path=path, tile=tile, route=route, passes=passes)
    if note := settings["note"]:
        tell(note) if tell else warnings.warn(note, stacklevel=3)
    side, path, route, (limit, until_clean) = (settings[name] for name in ("side", "path", "route", "passes"))
    if next(model.parameters()).device.type == "cpu":
        keep_freed_memory()
    with evaluating(model), torch.inference_mode():

        def once(z_BCHW: Tensor) -> tuple[Tensor, Trace]:
            path_BL = None if path is None else read_path(path, len(z_BCHW), model.cfg.experts)
            if side:
                return _tiled(model, z_BCHW, side, path_BL, route)
            y, trace = model(padded(model, z_BCHW), path=path_BL, return_trace=True, route_by=route)
            return y[..., :height, :width].float(), trace

        y, trace = once(x_BCHW)
        if limit > 1:
            y, trace = _again(model, y, trace, limit, until_clean, once, side)
        if judge and judges(model, path, route, settings["passes"]) and len(trace.path) == len(y):
            rows, columns = middle(height, width)
            x_part, y_part = (t[..., rows, columns] for t in (x_BCHW, y))
            trace = judged(model, x_part, y_part, trace, x_part.shape == x_BCHW.shape)
    y, trace = y.clone(), on_cpu(trace)
    check_finite(model, y)
    return y.clamp_(0, 1), trace


def _tiled(model: SLERIR, x_BCHW: Tensor, side: int, path_BL: Tensor | None, route: str) -> tuple[Tensor, Trace]:
    y_BCHW, traces = torch.empty(x_BCHW.shape), []
    for b, (x_CHW, y_CHW) in enumerate(zip(x_BCHW, y_BCHW, strict=True)):

        def write(top: int, rows_CHW: Tensor, y_CHW: Tensor = y_CHW) -> None:
            y_CHW[:, top : top + rows_CHW.shape[1]] = rows_CHW

        path_1L = None if path_BL is None else path_BL[b : b + 1]
        traces.append(restore_tiled(model, x_CHW, write, side, path_1L, route)[0])
    return y_BCHW, join(traces)


def checked_passes(passes: int | str, model: SLERIR, path, route: str) -> tuple[int, bool]:
    """(most passes, whether a clean result ends them earlier)."""
    if passes != "auto" and (isinstance(passes, bool) or not isinstance(passes, int) or not 0 < passes <= MOST_PASSES):
        raise UserError(f"passes must be 1 to {MOST_PASSES}, or 'auto'; got {passes!r}. Leave it out for one pass.")
    if passes != 1 and (path is not None or route == "tile"):
        other = "path" if path is not None else "route='tile'"
        raise UserError(f"passes={passes!r} lets each pass choose its path; got {other} beside it. Leave one out.")
    if passes == "auto" and "clean" not in model.router.names:
        raise UserError("passes='auto' ends at a clean result; this network has no class 'clean'. Use passes=2.")
    return (MOST_PASSES, True) if passes == "auto" else (passes, False)


def _again(
    model: SLERIR, y_BCHW: Tensor, trace: Trace, limit: int, until_clean: bool, once, side: int
) -> tuple[Tensor, Trace]:  # fmt: skip
    """Restore the results again, each image until the nearest anchor of its result is clean [ours].

    A look at a result costs the encoder alone. The trace stays that of the first pass; the looks follow in it.
    """
    counts, looks = torch.ones(len(y_BCHW), dtype=torch.long), []
    rows = torch.arange(len(y_BCHW))
    for _ in range(limit - 1):
        if side:
            pictures = [Pixels(y_CHW, model.multiple, SMALLEST) for y_CHW in y_BCHW.clamp(0, 1)]
            look = join([Look(model, pixels).route(None, False, True)[0] for pixels in pictures])
        else:
            z = padded(model, y_BCHW.clamp(0, 1))
            look = model.route(model.encode(z, route_by="image"), x_BCHW=z)
        looks.append(on_cpu(look))
        if until_clean:
            rows = rows[[look.nearest_anchor()[row] != "clean" for row in rows.tolist()]]
        if not len(rows):
            break
        y_BCHW = y_BCHW.clone()
        y_BCHW[rows] = once(y_BCHW[rows].clamp(0, 1))[0]
        counts[rows] += 1
    return y_BCHW, replace(trace, passes=counts, looks=tuple(looks))


def tile_side(tile: int | None, pixels: int) -> int:
    """Side of the tiles, 0 for the whole image. Raises UserError for a side that no tile may have."""
    if tile is None:
        return AUTO_TILE if pixels > WHOLE_PIXELS else 0
    if isinstance(tile, bool) or not isinstance(tile, int) or (tile != 0 and (tile < SMALLEST_TILE or tile % 8)):
        raise UserError(
            f"tile must be 0 (whole image) or a multiple of 8 of at least {SMALLEST_TILE}; got {tile!r}. Try tile=512."
        )
    return tile


def checked_route(route: str | None, model: SLERIR, tile: int | None, path) -> str:
    """image, place or tile. Raises UserError for another route, and where nothing is left to choose."""
    if route not in (None, "image", "place", "tile"):
        raise UserError(
            f"route must be 'image' (one path), 'place' (one per place) or 'tile' (one per tile); got {route!r}. Leave "
            "it out."
        )
    for name, value in (("tile", tile if tile == 0 and route == "tile" else None), ("path", path)):
        if value is not None and route in ("place", "tile"):
            raise UserError(
                f"route={route!r} lets each {route} choose its own path; got {name}={value!r} beside it, which leaves "
                f"no choice. Leave out {name} or route."
            )
    if route == "place" and (model.cfg.router != "sphere" or model.router.linear_space):
        raise UserError(
            "route='place' looks for the nearest pin of each place, which needs the router sphere on a sphere; this "
            f"network has the router {model.cfg.router} and sude {model.cfg.sude}. Leave out route."
        )
    return route or model.cfg.route_by
