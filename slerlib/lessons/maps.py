"""Exercises of lesson 06: angles to places, neighbours, and how many of them a map keeps.

Legend: n points, d dimensions.
"""

import torch

from .exercise import exercise, holds, run, same


def _points(n: int, d: int, seed: int = 0):
    points = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return points / points.norm(dim=1, keepdim=True)


@exercise(
    "easy",
    6,
    "Where must a = 0 end up, whatever b is?",
    "The height z is 1 at a = 0 and -1 at a = pi. Which of sine and cosine does that?",
    "z = cos a. The distance from the axis is sin a: x = sin a cos b, y = sin a sin b; stack them with dim=1.",
)
def to_places(a, b):
    """(n, 3) places on the globe from the colatitude a (0 at the north pole, pi at the south pole) and longitude b."""
    return torch.stack([torch.sin(a) * torch.cos(b), torch.sin(a) * torch.sin(b), torch.cos(a)], dim=1)


@to_places.check
def _(answer):
    a, b = torch.tensor([0.0, 0.0, 3.14159265]), torch.tensor([0.0, 2.0, 1.0])
    mine = run(answer, a, b)
    holds("Each point has three numbers.", tuple(mine.shape) == (3, 3), f"For 3 points yours is {tuple(mine.shape)}.")
    same("a = 0 is the north pole (0, 0, 1), whatever b is.", mine[:2], [[0, 0, 1.0]] * 2, 1e-5, "a = 0, b = 0 and 2")
    same("a = pi is the south pole (0, 0, -1).", mine[2], [0, 0, -1.0], 1e-5, "a = pi, b = 1")
    ring = run(answer, torch.full((4,), 1.5707963), torch.tensor([0.0, 1.5707963, 3.14159265, 4.712389]))
    same(
        "The longitude turns from x to y.",
        ring,
        [[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]],
        1e-5,
        "a = pi / 2, b a quarter turn each",
    )
    a, b = torch.linspace(0.1, 3, 9), torch.linspace(0, 6, 9)
    same("Every place lies on the globe, at the length 1.", run(answer, a, b).norm(dim=1), torch.ones(9), 1e-5)
    same("Points keep their place.", run(answer, a, b), to_places.solution(a, b), 1e-5, "Nine points")


@exercise(
    "medium",
    8,
    "`z @ z.T` holds the cosine of every pair. Which pairs may not be chosen?",
    "`scene[:, None] == scene` is true where two points show the same photograph - the point itself too.",
    "Set these cosines to -inf, then take the place of the largest in each row.",
)
def nearest_other(z, scene):
    """(n,) for each unit vector of z (n, d) the number of its nearest point of another photograph; scene: (n,)."""
    cosine = z @ z.T
    cosine[scene[:, None] == scene] = -torch.inf
    return cosine.argmax(dim=1)


@nearest_other.check
def _(answer):
    z, scene = _points(12, 5), torch.arange(12) % 4
    mine = run(answer, z, scene)
    holds("Each point has one neighbour.", tuple(mine.shape) == (12,), f"For 12 points yours is {tuple(mine.shape)}.")
    for n, other in enumerate(mine.long().tolist()):
        holds("A point is not its own neighbour.", other != n, f"Point {n} has the neighbour {other}.")
        holds(
            "A neighbour shows another photograph.",
            scene[n] != scene[other],
            f"Points {n} and {other} both show photograph {scene[n]}.",
        )
        best = int(nearest_other.solution(z, scene)[n])
        mine_cos, best_cos = float(z[n] @ z[other]), float(z[n] @ z[best])
        holds(
            "The neighbour is the nearest one: it has the largest cosine.",
            other == best,
            f"Point {n}: yours is point {other} with cosine {mine_cos:.2f}; point {best} has {best_cos:.2f}.",
        )
    z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-0.8, -0.6], [-0.6, -0.8]])
    other = int(run(answer, z, torch.tensor([0, 0, 1, 1]))[0])
    holds(
        "All cosines may be negative: what may not be chosen is lower than any cosine, -inf and not 0.",
        other == 3,
        f"Point 0 has the cosines -0.8 and -0.6 to the other photograph, points 2 and 3; yours is point {other}.",
    )


@exercise(
    "hard",
    10,
    "`torch.cdist(x, x)` holds all distances. What is the distance of a point to itself, and should it count?",
    "Fill the diagonal with inf; `.topk(k, largest=False).indices` are the k nearest of each row.",
    "Compare as sets: for each point, how many of its k neighbours in z are among its k on the map? Divide by k.",
)
def neighbours_kept(z, chart, k):
    """Share (0 to 1) of the k nearest neighbours in z (n, d) that are among the k nearest on the map (n, m)."""
    near = []
    for points in (z, chart):
        distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
        near.append(distance.topk(k, largest=False).indices)
    return (near[0][:, :, None] == near[1][:, None]).any(dim=2).double().mean().item()


@neighbours_kept.check
def _(answer):
    z = _points(30, 6)
    same("A map that changes nothing keeps all neighbours.", run(answer, z, z, 5), 1.0, 1e-6, "The map is z itself")
    line = torch.arange(6.0)[:, None]
    torn = torch.tensor([[0.0], [10.0], [20.0], [3.0], [13.0], [23.0]])
    same(
        "A point does not count as its own neighbour.",
        run(answer, line, torn, 1),
        0.0,
        1e-6,
        "On a line of six points no nearest neighbour is left",
    )
    corner, turned = torch.tensor([[0.0, 0], [1, 0], [0, 2]]), torch.tensor([[0.0, 0], [2, 0], [0, 1]])
    two, other = (torch.cat([group, group + 50]) for group in (corner, turned))
    same(
        "The order among the neighbours does not count.",
        run(answer, two, other, 2),
        1.0,
        1e-6,
        "Two groups of three points, in which the nearer one and the farther one change places, k = 2",
    )
    chart = z[:, :1]
    mine, right = float(run(answer, z, chart, 5)), neighbours_kept.solution(z, chart, 5)
    text = f"For a map of one dimension and k = 5 yours is {mine:.3f}, right is {right:.3f}"
    holds("A point that keeps one of its k neighbours keeps 1 / k, not all.", mine < right + 1e-6, f"{text}.")
    holds("The share is of k neighbours, whatever else is near on the map.", mine > right - 1e-6, f"{text}.")
