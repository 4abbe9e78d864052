"""Exercises of lesson 05: a score of files, the interval of a mean, and how many photographs it takes.

Legend: C channels, H W pixels.
"""

import math

import numpy as np
from torch.nn import functional as F

from .exercise import exercise, holds, noise, run, same


@exercise(
    "easy",
    6,
    "Bytes are whole numbers from 0 to 255. What is 3 - 5 for two of them? Try np.uint8(3) - np.uint8(5).",
    "Turn both into float64 first, and into values from 0 to 1 by a division by 255.",
    "The mean squared error is over all pixels and colours at once; then -10 * log10 of it.",
)
def psnr_of_files(a_HWC, b_HWC):
    """PSNR in dB of two pictures as they are in files: uint8 arrays, values from 0 to 255."""
    error = (a_HWC.astype(float) / 255 - b_HWC.astype(float) / 255) ** 2
    return -10 * np.log10(error.mean())


@psnr_of_files.check
def _(answer):
    grey = np.full((4, 4, 3), 100, np.uint8)
    step = float(run(answer, grey + np.uint8(1), grey))
    same("One step of 255 everywhere is 48.13 dB.", step, 48.1308, 1e-3, "All values 101 against 100")
    same(
        "Darker by one step is as near as brighter by one.",
        run(answer, grey - np.uint8(1), grey),
        step,
        1e-3,
        "All values 99 against 100, where bytes would give 255",
    )
    red = grey.copy()
    red[..., 0] += 10
    same(
        "Colours are averaged before the logarithm.",
        run(answer, red, grey),
        psnr_of_files.solution(red, grey),
        1e-3,
        "Only red is off, by 10",
    )
    spot = grey.copy()
    spot[0, 0] = 200
    same(
        "Errors are squared.",
        run(answer, spot, grey),
        psnr_of_files.solution(spot, grey),
        1e-3,
        "One pixel of 16 is off",
    )
    black = np.zeros((4, 4, 3), np.uint8)
    far = black + np.uint8(100)
    far[:2] = 255
    same(
        "Large differences count in full: in 16 bits the square of 255 does not fit.",
        run(answer, far, black),
        psnr_of_files.solution(far, black),
        1e-3,
        "Half of the values 255, half 100, against 0",
    )


@exercise(
    "medium",
    8,
    "`rng.integers(0, n, (draws, n))` draws numbers of photographs, with repetition. Which shape has values[numbers]?",
    "Take the mean of every draw, not of everything.",
    "The middle 95 % of the means lie between the quantiles 0.025 and 0.975.",
)
def bootstrap(values, rng, draws=2000):
    """(mean, low, high): the mean of the values, and the middle 95 % of the means of `draws` draws of as many."""
    values = np.asarray(values)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return values.mean(), low, high


@bootstrap.check
def _(answer):
    values = np.array([20.0, 22.0, 23.0, 25.0, 26.0, 27.0, 30.0, 31.0, 36.0])
    mine = run(answer, values, np.random.default_rng(0))
    holds("There are three numbers: mean, low, high.", np.shape(mine) == (3,), f"Yours has the shape {np.shape(mine)}.")
    mean, low, high = map(float, mine)
    same("The first number is the mean of the values themselves.", mean, values.mean(), 1e-9, "Nine values")
    wide, right = high - low, bootstrap.solution(values, np.random.default_rng(1))
    text = f"For nine values with the mean {mean:.1f} yours is {low:.2f} to {high:.2f}"
    holds("Draws repeat photographs: with replacement.", abs(wide) > 1e-9, f"{text}: all draws have one mean.")
    holds("The mean lies inside its interval.", low < mean < high, f"{text}.")
    true = right[2] - right[1]
    holds(
        "The interval is that of the mean, not that of single values.",
        wide < 1.6 * true,
        f"{text}, {wide:.1f} wide; right is about {true:.1f}.",
    )
    holds("It holds 95 % of the means.", wide < 1.12 * true, f"{text}, {wide:.1f} wide; right is about {true:.1f}.")
    holds(
        "Every draw has as many values as there are, and 95 % stay inside.",
        wide > 0.88 * true,
        f"{text}, {wide:.1f} wide; right is about {true:.1f}.",
    )
    _, low, high = map(float, run(answer, np.array([20.0] * 8 + [50.0]), np.random.default_rng(0)))
    holds(
        "The ends are those of means that were drawn: a skew sample has a skew interval.",
        abs(low - 20) < 0.5 and abs(high - 30) < 0.5,
        f"For eight values of 20 and one of 50 yours is {low:.1f} to {high:.1f}; drawn means give 20.0 to 30.0, since "
        "no draw has a mean below 20.",
    )
    many = 25 + 5 * np.random.default_rng(7).standard_normal(20)
    ends = [tuple(map(float, run(answer, many, np.random.default_rng(seed))[1:])) for seed in (0, 0, 1)]
    text = "Twenty values: the intervals are " + ", ".join(f"{low:.6f} to {high:.6f}" for low, high in ends)
    holds("All draws come from `rng`.", ends[0] == ends[1] != ends[2], f"{text}, with `rng` of the seeds 0, 0, 1.")


@exercise(
    "easy",
    5,
    "The interval reaches from m - 1.96 s / sqrt(n) to m + 1.96 s / sqrt(n). How far is one end from the other?",
    "Solve 2 * 1.96 * s / sqrt(n) = width for n. Where s / width doubles, n grows fourfold.",
    "n is the square of 2 * 1.96 * s / width, rounded up to a whole number.",
)
def photographs_for(width, s):
    """The fewest photographs n whose interval m - 1.96 s / sqrt(n) to m + 1.96 s / sqrt(n) is at most `width` wide.

    width: dB from the lower end to the upper; s: standard deviation of the photographs in dB.
    """
    return int(np.ceil((2 * 1.96 * s / width) ** 2))


@photographs_for.check
def _(answer):
    n = run(answer, 0.2, 0.5)
    holds("A number of photographs is whole.", float(n).is_integer(), f"For width 0.2 and s 0.5 yours is {n}.")
    half = run(answer, 0.1, 0.5)
    holds("Half the width takes four times as many.", abs(half - 4 * n) <= 4, f"0.2 dB: {n}; 0.1 dB: {half}.")
    double = run(answer, 0.2, 1.0)
    holds("Twice the deviation takes four times as many.", abs(double - 4 * n) <= 4, f"s 0.5: {n}; s 1: {double}.")
    got = 2 * 1.96 * 0.5 / math.sqrt(max(n, 1))
    text = f"For width 0.2 and s 0.5 yours is {n}, with an interval {got:.3f} dB wide"
    holds("The interval is `width` from end to end, both sides together.", got <= 0.2, f"{text}.")
    holds("An interval reaches 1.96 standard errors to either side, not 2.", n != 100, f"{text}; 97 are enough.")
    holds("No more photographs than needed.", got > 0.199, f"{text}.")
    for width, s in ((0.2, 1.0), (0.1, 0.5), (0.3, 0.2)):
        right = photographs_for.solution(width, s)
        same("n is the square of 2 * 1.96 * s / width, rounded up.", run(answer, width, s), right, 0, f"{width}, s {s}")


@exercise(
    "hard",
    15,
    "`window(x)` is the mean in each 7 x 7 window. Variance: mean of the squares minus square of the mean.",
    "Multiply variances and covariance by 49 / 48: 49 pixels are a sample. c1 = 0.01 ** 2 and c2 = 0.03 ** 2 keep the "
    "fractions finite.",
    "light = (2 ma mb + c1) / (ma^2 + mb^2 + c1), structure = (2 cov + c2) / (va + vb + c2), multiplied.",
)
def similarity(a, b, window):
    """SSIM of two (3, H, W) pictures; window(x) is the mean in every window of 7 x 7 pixels."""
    mean_a, mean_b = window(a), window(b)
    var_a = 49 / 48 * (window(a * a) - mean_a**2)
    var_b = 49 / 48 * (window(b * b) - mean_b**2)
    covariance = 49 / 48 * (window(a * b) - mean_a * mean_b)
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2)
    return (light * structure).mean().item()


@similarity.check
def _(answer):
    def window(x):
        return F.avg_pool2d(x[None], 7, stride=1)[0]

    a = noise(3, 16, 16).double()
    b = 0.7 * a + 0.3 * noise(3, 16, 16, seed=1).double()
    mine = run(answer, a, b, window)
    holds("The similarity is one number.", np.ndim(mine) == 0, f"Yours has the shape {np.shape(mine)}.")
    same("A picture has the similarity 1 to itself.", run(answer, a, a, window), 1.0, 1e-6, "A random picture twice")
    same("It is the same from a to b and from b to a.", run(answer, b, a, window), mine, 1e-9, "Two random pictures")
    grey, light = a * 0 + 0.3, a * 0 + 0.6
    same(
        "Flat pictures differ by their light alone.",
        run(answer, grey, light, window),
        similarity.solution(grey, light, window),
        1e-6,
        "Grey 0.3 against grey 0.6",
    )
    turned = float(run(answer, a, 1 - a, window))
    holds("A negative has the opposite structure: the covariance is negative.", turned < 0, f"Yours is {turned:.3f}.")
    pale = 0.5 + 0.1 * (a - 0.5)
    same(
        "Variances compare the contrast: a pale copy is less similar.",
        run(answer, a, pale, window),
        similarity.solution(a, pale, window),
        0.002,
        "A copy with a tenth of the contrast",
    )
    same(
        "Windows are samples of 49 pixels: variances times 49 / 48.",
        mine,
        similarity.solution(a, b, window),
        1e-6,
        "Two random pictures",
    )
