"""Exercises of lesson 00: what a decibel is, the margin of a choice, and a search by halves.

Legend: L layers, E experts, d dimensions of the sphere.
"""

import torch

from .exercise import exercise, holds, run, same


@exercise(
    "easy",
    4,
    "PSNR = -20 log10(error). What is the error at 20 dB, and what at 40 dB?",
    "Solve for the error: divide by -20 first.",
    "What undoes log10 is 10 ** x.",
)
def pixel_error(psnr):
    """Root mean square error of the pixels, in values from 0 to 1, at a PSNR in dB."""
    return 10 ** (-psnr / 20)


@pixel_error.check
def _(answer):
    same("At 0 dB the pixels are off by 1.", run(answer, 0.0), 1.0, 1e-9, "PSNR 0 dB")
    a, b = float(run(answer, 20.0)), float(run(answer, 40.0))
    holds("More decibels are a smaller error.", b < a, f"20 dB: {a:.4g}; 40 dB: {b:.4g}.")
    holds("The error is not squared.", abs(a - 0.01) > 1e-6, f"At 20 dB yours is {a:.4g}, which is the squared error.")
    same("At 20 dB the pixels are off by 0.1.", a, 0.1, 1e-6, "PSNR 20 dB")
    same("Each 6.02 dB halve the error.", run(answer, 26.0206), 0.05, 1e-6, "PSNR 26.02 dB")


@exercise(
    "medium",
    7,
    "The router compares cosines. Between vectors of length 1 a cosine is a dot product: `pins @ z` has which shape?",
    "Sort the cosines of each layer, the largest first: `.sort(dim=1, descending=True).values`.",
    "The margin is the first of the sorted cosines minus the second.",
)
def margins(z, pins):
    """(L,) at each layer the cosine of the nearest pin minus that of the second nearest; z (d,), pins (L, E, d)."""
    cosines = (pins @ z).sort(dim=1, descending=True).values
    return cosines[:, 0] - cosines[:, 1]


@margins.check
def _(answer):
    z = torch.tensor([1.0, 0.0])
    pins = torch.tensor([[[0.6, 0.8], [-0.96, 0.28], [0.8, 0.6]], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]])
    mine = run(answer, z, pins)
    yours = [round(x, 2) for x in mine.flatten().tolist()]
    case = "Cosines 0.6, -0.96, 0.8 at layer 0 and 1, 0.6, 0 at layer 1"
    holds(
        "There is one margin for each layer.", tuple(mine.shape) == (2,), f"For 2 layers yours is {tuple(mine.shape)}."
    )
    holds("A margin is not negative: the best minus the second.", bool((mine >= 0).all()), f"{case}: yours is {yours}.")
    holds(
        "The second is the second nearest, not the farthest.", abs(mine[0] - 1.76) > 1e-4, f"{case}: yours is {yours}."
    )
    holds("The sign counts: a pin at -0.96 is far away.", abs(mine[0] - 0.16) > 1e-4, f"{case}: yours is {yours}.")
    holds(
        "Margins are differences of cosines, not of angles.", float(mine.abs().max()) <= 2, f"{case}: yours is {yours}."
    )
    same("The margin is the best cosine minus the second best.", mine, [0.2, 0.4], 1e-5, case)


@exercise(
    "medium",
    8,
    "At 0 the rain is not seen, at 1 it is: the border lies between. What does one look at the middle tell you?",
    "Keep two numbers: `low`, where it is not seen, and `high`, where it is. Replace one of them by the middle.",
    "while high - low > 0.05: middle = (low + high) / 2; if sees(middle): high = middle, else: low = middle.",
)
def lightest(sees):
    """The lightest severity (0 to 1), at most 0.05 too high, at which sees(severity) is true; sees(1) is true."""
    low, high = 0.0, 1.0
    while high - low > 0.05:
        middle = (low + high) / 2
        if sees(middle):
            high = middle
        else:
            low = middle
    return high


@lightest.check
def _(answer):
    for border in (0.33, 0.87, 0.06, 0.52):
        looks = []
        mine = float(run(answer, lambda severity, b=border, looks=looks: looks.append(severity) or severity >= b))
        case = f"Rain is seen from {border} on; yours is {mine:.4g}"
        holds("A severity lies between 0 and 1.", 0 <= mine <= 1, f"{case}.")
        holds("Each network has its own border: look.", len(looks) > 0, f"{case}, without a single call of sees.")
        holds(
            "Look seldom, since each look restores a picture: halves need 5 looks, and at most 8 are allowed.",
            len(looks) <= 8,
            f"For a border at {border} you looked {len(looks)} times.",
        )
        holds("At the answer the rain is seen.", mine >= border, f"{case}, where it is not seen.")
        holds(
            "The answer is at most 0.05 too high.",
            mine - border <= 0.05 + 1e-9,
            f"{case}: {mine - border:.2f} too high.",
        )
