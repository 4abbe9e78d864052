"""Exercises of lesson 02: the distance on a sphere, corners as far apart as can be, the border of two cells.

Legend: d dimensions.
"""

import math

import torch

from .. import sphere
from .exercise import exercise, holds, run, same


@exercise(
    "easy",
    5,
    "The dot product of two vectors is |a| |b| cos(angle). What is left to do?",
    "Divide by both lengths, then torch.acos; rounding may leave 1.0000001, so clamp to -1 and 1 first.",
    "torch.acos gives radians: `torch.rad2deg`.",
)
def distance(a, b):
    """Angle in degrees (0 to 180) between two vectors (d,) of any length: their distance on the sphere."""
    cosine = (a @ b) / (a.norm() * b.norm())
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


@distance.check
def _(answer):
    x, y = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    right = float(run(answer, x, y))
    holds(
        "The angle is in degrees.",
        abs(right - math.pi / 2) > 1e-3,
        f"For a right angle yours is {right:.4f}, in radians.",
    )
    same("A right angle has 90 degrees.", right, 90.0, 1e-3, "(1, 0, 0) and (0, 1, 0)")
    same("Opposite points are 180 degrees apart.", run(answer, x, -x), 180.0, 1e-2, "(1, 0, 0) and (-1, 0, 0)")
    same("Only the direction counts, not the length.", run(answer, 3 * x, x + y), 45.0, 1e-2, "(3, 0, 0) and (1, 1, 0)")
    z = torch.tensor([0.1, 0.2, 0.3])
    same(
        "A point is 0 degrees from itself, whatever rounding does.",
        run(answer, z, z),
        0.0,
        0.1,
        "(0.1, 0.2, 0.3) twice",
    )


@exercise(
    "medium",
    8,
    "The k unit vectors of an identity matrix are all equally far apart, at 90 degrees. Can they be pushed further?",
    "They all lean towards their common mean. Subtract it from each.",
    "Subtract the mean of the rows, then divide every row by its length.",
)
def corners(k):
    """(k, k) unit vectors whose pairs all have the same cosine, as low as it can be: -1 / (k - 1)."""
    points = torch.eye(k) - 1 / k
    return points / points.norm(dim=1, keepdim=True)


@corners.check
def _(answer):
    points = run(answer, 5)
    holds("There are k points.", len(points) == 5 and points.ndim == 2, f"For k = 5 yours is {tuple(points.shape)}.")
    same("Every point lies on the sphere, at the length 1.", points.norm(dim=1), torch.ones(5), 1e-4, "k = 5")
    cosines = (points @ points.T)[*torch.triu_indices(5, 5, offset=1)]
    low, high = float(cosines.min()), float(cosines.max())
    holds("All pairs have the same cosine.", high - low < 1e-4, f"For k = 5 yours go from {low:.3f} to {high:.3f}.")
    holds("The points are different.", high < 0.99, f"For k = 5 two of yours have the cosine {high:.3f}.")
    same("The cosine is as low as it can be: -1 / (k - 1).", cosines.mean(), -0.25, 1e-4, "k = 5")
    two = run(answer, 2)
    same("It holds for every k.", two[0] @ two[1], -1.0, 1e-4, "k = 2")


@exercise(
    "hard",
    12,
    "z is the slerp of a and b, and a dot product can be computed term by term: you need only a . d and b . d.",
    "sin((1 - t) w) = sin w cos tw - cos w sin tw. Divide by cos tw.",
    "tan(tw) = sin w (a . d) / (cos w (a . d) - b . d). `torch.atan2` takes the two parts; divide by w.",
)
def border(a, b, pin_a, pin_b):
    """The part t (0 to 1) of the arc from a to b at which both pins are equally near; all are unit vectors (d,)."""
    omega = torch.acos(a @ b)
    d = pin_a - pin_b
    return (torch.atan2(omega.sin() * (a @ d), omega.cos() * (a @ d) - b @ d) / omega).item()


@border.check
def _(answer):
    generator = torch.Generator().manual_seed(3)
    a, b = sphere.normalise(torch.randn(2, 6, generator=generator, dtype=torch.float64))
    off = 0.3 * torch.randn(4, 2, 6, generator=generator, dtype=torch.float64)
    same("Pins that lie on the ends meet half-way.", run(answer, a, b, a, b), 0.5, 1e-3, "The pins are a and b")
    for move_a, move_b in off:
        pin_a, pin_b = sphere.normalise(a + move_a), sphere.normalise(b + move_b)
        t = float(run(answer, a, b, pin_a, pin_b))
        holds("t is a part of the way.", 0 <= t <= 1, f"Yours is {t:.3f}.")
        z = sphere.slerp(a, b, t)
        far = [sphere.angle(z, pin).item() for pin in (pin_a, pin_b)]
        holds(
            "At the border both pins are equally near.",
            abs(far[0] - far[1]) < 0.5,
            f"At t = {t:.3f} the pins are {far[0]:.1f} and {far[1]:.1f} degrees away: go towards "
            f"{'b' if far[0] < far[1] else 'a'}.",
        )


@exercise(
    "medium",
    9,
    "Keep the path of the step before. Which layers have another number now?",
    "Two loops: over the steps, with t = n / steps, and over the layers of the path.",
    "if path[layer] != before[layer]: append (t, layer); after the layers, before = path.",
)
def switches(path_at, steps):
    """[(t, layer), ...] in order: where path_at(t), a list of experts, changes; t = 1 / steps, 2 / steps ... 1."""
    changes, before = [], path_at(0.0)
    for n in range(1, steps + 1):
        path = path_at(n / steps)
        for layer in range(len(path)):
            if path[layer] != before[layer]:
                changes.append((n / steps, layer))
        before = path
    return changes


@switches.check
def _(answer):
    def path_at(t):
        return [0 if t < 0.31 else 2, 1, 0 if t < 0.58 else 1 if t < 0.88 else 2, 0 if t < 0.31 else 1]

    still = run(answer, lambda t: [0, 1], 10)
    holds("A path that stays has no changes.", list(still) == [], f"Yours has {still}.")
    mine = [(round(float(t), 3), int(layer)) for t, layer in run(answer, path_at, 10)]
    right = [(0.4, 0), (0.4, 3), (0.6, 2), (0.9, 2)]
    layers = [layer for _, layer in mine]
    text = f"Layers 0 and 3 change at 0.31, layer 2 at 0.58 and 0.88; in 10 steps yours is {mine}"
    holds("Layer 1 never changes, so it is not in the list.", 1 not in layers, f"{text}.")
    holds("Two layers may change in one step.", {0, 3} <= set(layers), f"{text}.")
    holds("A layer may change twice.", layers.count(2) == 2, f"{text}.")
    holds("Each change is named once.", len(mine) == 4, f"{text}.")
    holds("t is the first step at which the path is another one.", mine == right, f"{text}; right is {right}.")
    end = [tuple(change) for change in run(answer, lambda t: [int(t == 1)], 4)]
    holds(
        "The last step, t = 1, counts too.", end == [(1.0, 0)], f"The path changes at t = 1; in 4 steps yours is {end}."
    )
