"""Exercises of lesson 07: how much an expert reveals, an expert taken away, a better path.

Legend: K degradations, L layers, E experts.
"""

import numpy as np

from .exercise import exercise, holds, run, same


@exercise(
    "hard",
    12,
    "Entropy of shares p: -(p log p).sum() over those above 0. You need it for rows, columns and cells.",
    "I = H(rows) + H(columns) - H(cells), where the shares of rows are the sums of the cells.",
    "NMI = I divided by the mean of H(rows) and H(columns).",
)
def nmi(counts_KE):
    """Normalised mutual information (0 to 1) of degradation and expert: I / mean of both entropies, from counts."""

    def entropy(p):
        p = p[p > 0]
        return -(p * np.log(p)).sum()

    p = counts_KE / counts_KE.sum()
    rows, columns = entropy(p.sum(axis=1)), entropy(p.sum(axis=0))
    return (rows + columns - entropy(p)) / ((rows + columns) / 2)


@nmi.check
def _(answer):
    apart, mixed = np.diag([4.0, 4.0, 4.0]), np.full((3, 3), 2.0)
    same(
        "One expert for each degradation reveals everything: 1.",
        run(answer, apart),
        1.0,
        1e-6,
        "Counts 4 on the diagonal",
    )
    same("Experts that all degradations use alike reveal nothing: 0.", run(answer, mixed), 0.0, 1e-6, "Counts all 2")
    some = np.array([[5.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 1.0, 5.0], [3.0, 3.0, 0.0]])
    mine, right = float(run(answer, some)), float(nmi.solution(some))
    text = "Counts 5 1 0, 2 2 2, 0 1 5, 3 3 0"
    same("Counts ten times as large say the same.", run(answer, 10 * some), mine, 1e-6, text)
    same("It is the same from the degradation to the expert and back.", run(answer, some.T.copy()), mine, 1e-6, text)
    same("The information is divided by the mean of both entropies.", mine, right, 1e-6, text)


@exercise(
    "medium",
    7,
    "Only one layer may change. Which expert does the router take there, if the forbidden one is out of the way?",
    "Copy the similarities, and make the forbidden cell lower than all others: -np.inf.",
    "The path is the place of the largest similarity of each layer: `.argmax(axis=1)`.",
)
def without(similarity_LE, layer, expert):
    """(L,) the path if `expert` is forbidden at `layer`: each layer takes its nearest pin that is allowed."""
    allowed = similarity_LE.copy()
    allowed[layer, expert] = -np.inf
    return allowed.argmax(axis=1)


@without.check
def _(answer):
    similarity = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.8], [-0.6, -0.2, -0.4], [0.1, 0.7, 0.6]])
    own = similarity.argmax(axis=1)
    mine = np.asarray(run(answer, similarity, 2, 1))
    holds(
        "A path has one expert for each layer.", mine.shape == (4,), f"For 4 layers yours has the shape {mine.shape}."
    )
    holds(
        "The forbidden expert is not taken.",
        mine[2] != 1,
        f"Expert 1 is forbidden at layer 2; yours is {mine.tolist()}.",
    )
    changed = [n for n in (0, 1, 3) if mine[n] != own[n]]
    holds(
        "The other layers do not change.",
        not changed,
        f"Layer {(changed or [0])[0]} changes: {own.tolist()} becomes {mine.tolist()}.",
    )
    same(
        "The next nearest pin takes its place, also where all cosines are negative.",
        mine[2],
        2,
        case="Cosines -0.6, -0.2, -0.4, expert 1 forbidden",
    )
    spare = np.asarray(run(answer, similarity, 0, 2))
    same("An expert that is not on the path can be forbidden without effect.", spare, own, case="Expert 2 at layer 0")


@exercise(
    "medium",
    8,
    "A neighbour of a path differs from it at one layer. How many are there with 8 layers and 3 experts?",
    "Two loops, over layers and over experts; copy the path, change one number, skip the path itself.",
    "Collect the neighbours in a list and take max(list, key=score); score(path) is the PSNR along it.",
)
def best_neighbour(path, experts, score):
    """Of all paths that differ from `path` (a list) at exactly one layer, the one with the highest score(path).

    `path` itself is not one of them, even if its score is higher.
    """
    tries = [[*path[:n], e, *path[n + 1 :]] for n in range(len(path)) for e in range(experts) if e != path[n]]
    return max(tries, key=score)


@best_neighbour.check
def _(answer):
    path, best = [0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 1, 0, 0, 1]
    worth = np.random.default_rng(0).random((8, 3))
    worth[np.arange(8), path] = 1.5
    worth[2, 0], worth[5, 0], worth[6, 1] = 2.0, 3.0, 2.5  # three layers gain, and one alone may change
    looks = []

    def score(tried):
        looks.append(list(map(int, tried)))
        return sum(worth[n, e] for n, e in enumerate(looks[-1])) if len(looks[-1]) == 8 else -1.0

    result = run(answer, path, 3, score)
    pair = isinstance(result, tuple) and len(result) == 2
    holds("The path alone comes back, without its score.", not pair, f"Yours is {result!r}.")
    holds("A path comes back, a list, and not its score.", np.ndim(result) == 1, f"Yours is {result!r}.")
    mine = list(map(int, result))
    text = f"From {path} yours is {mine}"
    holds("A path has one expert for each layer.", len(mine) == 8, f"{text}, with {len(mine)} numbers.")
    holds("Experts have the numbers 0 to experts - 1.", set(mine) <= {0, 1, 2}, f"{text}.")
    differ = sum(a != b for a, b in zip(path, mine, strict=True))
    holds("A neighbour differs at exactly one layer.", differ == 1, f"{text}: they differ at {differ} layers.")
    holds(
        "All 16 neighbours are tried.",
        len({tuple(p) for p in looks} - {tuple(path)}) >= 16,
        f"You tried {len({tuple(p) for p in looks} - {tuple(path)})} of them.",
    )
    holds(
        "The best neighbour is the one with the highest score.",
        mine == best,
        f"{text} with {score(mine):.2f}; {best} has {score(best):.2f}.",
    )
    worth[2, 0] = worth[5, 0] = worth[6, 1] = 0.0
    alone = list(map(int, run(answer, path, 3, score)))
    holds(
        "The path itself is not a neighbour, also where every neighbour is worse.",
        alone != path,
        f"From {path}, which has the highest score of all, yours is the path itself.",
    )
