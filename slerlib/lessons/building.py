"""Exercises of lesson 03: high-pass, router, dispatch, and a hard choice with a gradient.

Legend: B pictures, C channels, H W pixels, L layers, E experts, d dimensions of the sphere.
"""

import torch
from torch.nn import functional as F

from .exercise import call, exercise, holds, noise, run, same


@exercise(
    "medium",
    8,
    "First blur: a weighted mean over 5 x 5 pixels, each colour by itself. Then subtract.",
    "The weights 1 4 6 4 1, divided by 16, along both sides; `expand(3, 1, 5, 5)` and `groups=3` keep colours apart.",
    'F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weights, groups=3) is the blurred copy.',
)
def high_pass(pictures_BCHW):
    """The picture minus a blurred copy, same size: 5 x 5, weights 1 4 6 4 1 along both sides, edges mirrored."""
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    weights = (line[:, None] * line).expand(3, 1, 5, 5)
    blurred = F.conv2d(F.pad(pictures_BCHW, (2, 2, 2, 2), mode="reflect"), weights, groups=3)
    return pictures_BCHW - blurred


@high_pass.check
def _(answer):
    x, flat = noise(2, 3, 12, 12), torch.full((1, 3, 8, 8), 0.7)
    mine = run(answer, x)
    holds("The size stays.", mine.shape == x.shape, f"{tuple(x.shape)} becomes {tuple(mine.shape)}.")
    pictures = [("picture", x[0]), ("yours, 0 is grey", 0.5 + mine[0]), ("right", 0.5 + high_pass.solution(x)[0])]
    edge = run(answer, flat)
    same(
        "A flat grey picture has nothing fine, at its edge too: 0 everywhere.",
        edge,
        flat * 0,
        case="All values 0.7",
        pictures=[("grey", flat[0]), ("yours, 0 is grey", 0.5 + edge[0])],
    )
    red = torch.zeros(1, 3, 9, 9)
    red[0, 0, 4, 4] = 1
    colours = run(answer, red)
    same("Each colour is treated by itself.", colours[0, 1:], torch.zeros(2, 9, 9), case="Only red has a point")
    holds(
        "The picture minus the blur, not the blur minus the picture.",
        float(colours[0, 0, 4, 4]) > 0,
        f"A bright point becomes {colours[0, 0, 4, 4]:.3f}.",
    )
    same(
        "The weights are 1 4 6 4 1 by 1 4 6 4 1, divided by 256.", colours, high_pass.solution(red), case="A red point"
    )
    same(
        "Beyond its edge the picture is mirrored: `reflect`.",
        mine,
        high_pass.solution(x),
        case="A random picture",
        pictures=pictures,
    )


@exercise(
    "medium",
    8,
    "Between vectors of length 1 the nearest pin has the largest dot product. Which einsum gives (B, L, E)?",
    'torch.einsum("bd,led->ble", z, pins), then `.sort(dim=2, descending=True)` gives values and numbers of experts.',
    "path = numbers[:, :, 0]; margin = values[:, :, 0] - values[:, :, 1].",
)
def nearest(z_Bd, pins_LEd):
    """(path, margin), (B, L) each: the expert of the nearest pin, and the best cosine minus the second best."""
    values, experts = torch.einsum("bd,led->ble", z_Bd, pins_LEd).sort(dim=2, descending=True)
    return experts[:, :, 0], values[:, :, 0] - values[:, :, 1]


@nearest.check
def _(answer):
    z, pins = (F.normalize(noise(*shape, seed=7) - 0.5, dim=-1) for shape in ((4, 6), (5, 3, 6)))
    result = run(answer, z, pins)
    holds(
        "Two tensors come back: path and margin.",
        isinstance(result, tuple | list) and len(result) == 2,
        f"Yours is a {type(result).__name__}.",
    )
    path, margin = result
    holds(
        "Each picture has one expert at each layer.",
        tuple(path.shape) == (4, 5),
        f"For 4 pictures and 5 layers your path is {tuple(path.shape)}.",
    )
    holds(
        "Path first, then margin: a path has the whole numbers of experts, 0 to E - 1.",
        not path.is_floating_point() and bool(((path >= 0) & (path < 3)).all()),
        f"For 3 experts your path has {path.unique()[:3].tolist()}.",
    )
    cosine = torch.einsum("bd,led->ble", z, pins)
    right_path, right_margin = nearest.solution(z, pins)
    off = (path != right_path).nonzero()
    if len(off):
        b, n = off[0].tolist()
        listed = ", ".join(f"{c:.2f}" for c in cosine[b, n])
        holds(
            "The chosen expert has the nearest pin: the largest cosine.",
            False,
            f"Picture {b}, layer {n}: cosines {listed}; yours is expert {int(path[b, n])}.",
        )
    holds(
        "A margin is the best minus the second, never negative.",
        bool((margin >= 0).all()),
        f"The lowest of yours is {margin.min():.3f}.",
    )
    same("The margin is the best cosine minus the second best.", margin, right_margin, 1e-4, "4 pictures, 5 layers")


@exercise(
    "hard",
    12,
    "For one expert: which rows of the batch chose it? `(chosen == e).nonzero()[:, 0]` are their numbers.",
    "Run the expert once on features[rows], and put the result back into the same rows of the output.",
    "out = torch.empty_like(features); for each expert with rows: out[rows] = expert(features[rows]).",
)
def dispatch(features, chosen, experts):
    """Row b of the output is experts[chosen[b]] of row b; chosen: (B,) tensor; each expert runs once, on its group."""
    out = torch.empty_like(features)
    for number, expert in enumerate(experts):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows):
            out[rows] = expert(features[rows])
    return out


@dispatch.check
def _(answer):
    features, chosen, calls = noise(6, 2, 3, 3), torch.tensor([2, 0, 2, 2, 0, 2]), []

    def expert(number):
        return lambda x: calls.append((number, len(x))) or x * (number + 2) + number

    mine = run(answer, features, chosen, [expert(n) for n in range(3)])
    listed = ", ".join(f"expert {n} on {rows} rows" for n, rows in calls)
    holds("The output has the shape of the features.", mine.shape == features.shape, f"Yours is {tuple(mine.shape)}.")
    right = torch.stack([expert(int(e))(x) for e, x in zip(chosen, features, strict=True)])
    ordered = torch.sort(chosen, stable=True).indices
    holds(
        "Rows keep their place in the batch.",
        torch.allclose(mine, right) or not torch.allclose(mine, right[ordered]),
        "Chosen are experts 2 0 2 2 0 2; your rows come sorted by expert.",
    )
    same("Each row goes to its own expert.", mine, right, case="Chosen are experts 2 0 2 2 0 2")
    asked = calls[: len(calls) - 6]
    used = [n for n, _ in asked]
    holds("An expert that nobody chose does not run.", 1 not in used, f"Calls: {listed}.")
    holds("Each expert runs once, on its whole group.", len(used) == len(set(used)), f"Calls: {listed}.")
    holds(
        "An expert runs on its own group alone.",
        sorted(asked) == [(0, 2), (2, 4)],
        f"Calls: {listed}. Two rows chose expert 0, four chose expert 2.",
    )


@exercise(
    "hard",
    10,
    "The factor must have the value 1, and its derivative with respect to `p` must not be 0.",
    "`p.detach()` has the value of `p` but counts as a constant.",
    "Which operation between a number and itself gives exactly 1 in floating point?",
)
def choice_factor(p):
    """A factor of exactly 1, through which a gradient reaches p, the probability of the chosen expert."""
    return p / p.detach()


@choice_factor.check
def _(answer):
    for value in (0.7, 0.41, 0.9, 0.36, 0.6123):
        p = torch.tensor(value, requires_grad=True)
        factor = call(answer, p)
        if not isinstance(factor, torch.Tensor):
            holds("The factor is a tensor, made from p.", False, f"For p = {value} yours is {factor!r}.")
        off = float(factor.detach()) - 1
        holds(
            "The factor is 1, or the output would be dimmed.",
            abs(off) < 1e-3,
            f"For p = {value} yours is {1 + off:.4f}.",
        )
        holds("A gradient reaches p.", factor.requires_grad, f"For p = {value} your factor does not depend on p.")
        (slope,) = torch.autograd.grad(factor, p, allow_unused=True)
        slope = 0.0 if slope is None else slope.item()
        holds("The derivative with respect to p is not 0.", slope != 0, f"For p = {value} it is 0: p and p cancel.")
        holds("More p makes the output stronger.", slope > 0, f"For p = {value} the derivative is {slope:.2f}.")
        holds(
            "The factor is exactly 1: 1 + p is rounded before p is taken away again.",
            off == 0,
            f"For p = {value} it is 1 {off:+.0e}, so each of 8 layers would change its output a little.",
        )
