"""Exercises of lesson 08: the interval of a few seeds, the smallest difference, many claims at once."""

import math

import numpy as np

from .exercise import exercise, holds, run, same


@exercise(
    "easy",
    6,
    "The mean of n differences has the standard error s / sqrt(n). What is s for a sample?",
    "`np.std(gaps, ddof=1)` divides by n - 1: with three seeds the difference matters.",
    "low, high = mean - t * s / sqrt(n), mean + t * s / sqrt(n)",
)
def interval(gaps, t):
    """(mean, low, high) of the differences of n seeds in dB: the mean, and t standard errors to either side."""
    gaps = np.asarray(gaps)
    half = t * gaps.std(ddof=1) / np.sqrt(len(gaps))
    return gaps.mean(), gaps.mean() - half, gaps.mean() + half


@interval.check
def _(answer):
    gaps, t = [1.0, 2.0, 6.0], 4.3027
    mine = run(answer, gaps, t)
    holds("There are three numbers: mean, low, high.", np.shape(mine) == (3,), f"Yours has the shape {np.shape(mine)}.")
    mean, low, high = map(float, mine)
    same("The first number is the mean.", mean, 3.0, 1e-5, "Differences 1, 2, 6 dB")
    same("The interval reaches as far down as up.", mean - low, high - mean, 1e-5, "Differences 1, 2, 6 dB")
    half, s = high - mean, np.std(gaps, ddof=1)
    text = f"For 1, 2, 6 dB yours reaches {half:.2f} dB; right is {t * s / math.sqrt(3):.2f}"
    holds(
        "Three seeds are a sample: s divides by n - 1.",
        not math.isclose(half, t * np.std(gaps) / math.sqrt(3), rel_tol=1e-5),
        f"{text}.",
    )
    holds(
        "It is the interval of the mean: s is divided by sqrt(n).",
        not math.isclose(half, t * s, rel_tol=1e-5),
        f"{text}.",
    )
    normal = 1.96 * s / math.sqrt(3)
    holds("Few seeds need a large t, not 1.96.", not math.isclose(half, normal, rel_tol=1e-5), f"{text}.")
    same("It reaches t standard errors to either side.", half, t * s / math.sqrt(3), 1e-5, "Differences 1, 2, 6 dB")
    five, t = [1.0, 2.0, 6.0, 3.0, 8.0], 2.7764
    same(
        "n is the number of seeds, whatever it is.",
        run(answer, five, t),
        interval.solution(five, t),
        1e-5,
        "Five seeds",
    )


@exercise(
    "easy",
    6,
    "A difference is shown if the whole interval lies on one side of 0. Here pairs are ordered: better first.",
    "Keep the pairs with low > 0 first; look for the smallest only among them.",
    "`min(shown, key=lambda pair: gaps[pair][0])`, where `shown` holds the pairs with gaps[pair][1] > 0.",
)
def smallest_shown(gaps):
    """Of {(better, worse): (mean, low, high)} the pair with the smallest mean among those whose low is above 0."""
    shown = [pair for pair, (_, low, _) in gaps.items() if low > 0]
    return min(shown, key=lambda pair: gaps[pair][0])


@smallest_shown.check
def _(answer):
    gaps = {
        ("linear", "sler"): (-0.5, -0.9, -0.1),
        ("sler", "plain"): (1.6, 0.8, 2.3),
        ("sler", "dense"): (0.2, -0.3, 0.7),
        ("sler", "linear"): (0.5, 0.1, 0.9),
        ("dense", "sler"): (-0.2, -0.7, 0.3),
        ("plain", "sler"): (-1.6, -2.3, -0.8),
        ("oracle", "plain"): (0.9, 0.01, 1.8),
        ("dense", "random"): (0.7, 0.6, 0.8),
    }
    mine = run(answer, gaps)
    holds("The answer is one pair, a tuple.", isinstance(mine, tuple), f"Yours is the {type(mine).__name__} {mine!r}.")
    holds("The answer is one of the pairs.", mine in gaps, f"Yours is {mine!r}.")
    mean, low, high = gaps[mine]
    text = f"{mine[0]} minus {mine[1]}: {mean:+.2f} dB ({low:+.2f} to {high:+.2f})"
    holds("The first of the pair is better.", mean > 0, f"{text}.")
    holds("The interval leaves out 0.", low > 0, f"{text} contains 0.")
    holds(
        "The mean decides which is smallest, not an end of the interval or its width.",
        mine not in (("oracle", "plain"), ("dense", "random")),
        f"{text}; sler minus linear has +0.50.",
    )
    holds("No shown difference is smaller.", mine == ("sler", "linear"), f"{text}; sler minus linear has +0.50.")


@exercise(
    "hard",
    12,
    "Sort the p values. The smallest of m counts m times as much, the next m / 2 times, the last once.",
    "q = p * m / rank. A larger p may not get a smaller q: from the last to the first, take the minimum so far.",
    "`np.minimum.accumulate(q[::-1])[::-1]` does that; put the results back into the order of the claims, at most 1.",
)
def corrected(p):
    """(m,) p values of m claims -> their corrected values by Benjamini and Hochberg, in the same order."""
    p = np.asarray(p)
    order = np.argsort(p)
    q = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.minimum(np.minimum.accumulate(q[::-1])[::-1], 1)
    result = np.empty_like(q)
    result[order] = q
    return result


@corrected.check
def _(answer):
    same("One claim alone needs no correction.", run(answer, np.array([0.03])), [0.03], 1e-9, "p = 0.03")
    few = np.array([0.01, 0.03, 0.2])
    same("The value is p times m / rank.", run(answer, few), [0.03, 0.045, 0.2], 1e-9, "p = 0.01, 0.03, 0.2")
    same("Equal p values stay as they are.", run(answer, np.array([0.2, 0.2, 0.2])), [0.2] * 3, 1e-9, "Three times 0.2")
    p = np.array([0.04, 0.01, 0.03, 0.5])
    mine, right = run(answer, p), corrected.solution(p)
    holds(
        "The values come in the order of the claims.",
        not np.allclose(mine, np.sort(right)) or np.allclose(mine, right),
        f"p = 0.04, 0.01, 0.03, 0.5 gives {np.round(mine, 3).tolist()}, which is sorted.",
    )
    holds("No value is above 1.", np.max(mine) <= 1, f"p = 0.04, 0.01, 0.03, 0.5 gives {np.round(mine, 3).tolist()}.")
    down = [i for i in range(4) for j in range(4) if p[i] > p[j] and mine[i] < mine[j] - 1e-12]
    holds("A larger p never gets a smaller value.", not down, f"{p.tolist()} gives {np.round(mine, 3).tolist()}.")
    same("A value is the smallest p times m / rank from its rank on.", mine, right, 1e-9, "p = 0.04, 0.01, 0.03, 0.5")
