"""Exercises of lesson 04: the loss of a step, the learning rate, clipping.

Legend: B pictures, C channels, H W pixels.
"""

import math

import torch

from .exercise import exercise, holds, noise, run, same


@exercise(
    "medium",
    8,
    "Two distances are added: one of pixels, one of Fourier coefficients. What is a distance here?",
    '`torch.fft.rfft2(difference, norm="ortho")` gives complex numbers; `.real` and `.imag` are their two parts.',
    "difference.abs().mean() + weight * waves, where waves is the mean of |real| and |imag| of all coefficients.",
)
def restoration_loss(restored_BCHW, clean_BCHW, weight):
    """L1 of the pixels, plus `weight` times L1 of the real and imaginary parts of `torch.fft.rfft2` (norm="ortho")."""
    difference = restored_BCHW - clean_BCHW
    waves = torch.fft.rfft2(difference, norm="ortho")
    fine = torch.cat([waves.real.flatten(), waves.imag.flatten()]).abs().mean()
    return difference.abs().mean() + weight * fine


@restoration_loss.check
def _(answer):
    a, b = noise(2, 3, 8, 8), noise(2, 3, 8, 8, seed=1)
    pixels = run(answer, a, b, 0.0)
    holds(
        "A loss is one number.", torch.as_tensor(pixels).ndim == 0, f"Yours is {tuple(torch.as_tensor(pixels).shape)}."
    )
    same("Equal pictures have the loss 0.", run(answer, a, a, 0.1), 0.0)
    same("Too bright and too dark count alike.", run(answer, b, a, 0.0), pixels, case="Arguments exchanged, weight 0")
    same("With the weight 0 only the pixels count, by absolute value.", pixels, (a - b).abs().mean(), case="Weight 0")
    larger = run(answer, b + 2 * (a - b), b, 0.1)
    same("Twice the error is twice the loss.", larger, 2 * run(answer, a, b, 0.1), 1e-4, "Weight 0.1")
    mine, right = float(run(answer, a, b, 0.1)), float(restoration_loss.solution(a, b, 0.1))
    every = torch.view_as_real(torch.fft.fft2(a - b, norm="ortho")).abs().mean()
    holds(
        "The transform is `rfft2`: `fft2` has most coefficients of a real picture twice, and its mean is another one.",
        not math.isclose(mine, pixels + 0.1 * every, rel_tol=1e-6),
        f"Weight 0.1: yours is {mine:.6f}, that of `fft2`; that of `rfft2` is {right:.6f}.",
    )
    same("The waves count `weight` times, real and imaginary parts alike.", mine, right, case="Weight 0.1")


@exercise(
    "easy",
    6,
    "The rate has two parts. Which numbers tell you in which of them `step` lies?",
    "Warm-up: peak * (step + 1) / warmup. It is not 0 at step 0, or the first step would be lost.",
    "After it, x = (step - warmup) / (steps - warmup) goes from 0 to 1, and peak * (1 + cos(pi x)) / 2 falls with it.",
)
def learning_rate(step, steps, warmup, peak):
    """Rate of step 0 to steps - 1: peak / warmup at step 0, straight up to `peak` at step warmup - 1; then half a
    cosine, from `peak` at step warmup towards 0, which it would reach at step `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    x = (step - warmup) / (steps - warmup)
    return peak * (1 + math.cos(math.pi * x)) / 2


@learning_rate.check
def _(answer):
    def rates(peak=0.4):
        return [float(run(answer, step, 100, 10, peak)) for step in range(100)]

    mine = rates()
    holds(
        "The first step learns too.", mine[0] > 0, f"At step 0 yours is {mine[0]:g}; peak / warmup is 0.4 / 10 = 0.04."
    )
    top = max(range(100), key=lambda step: mine[step])
    holds(
        "No rate is above the peak.", mine[top] <= 0.4 + 1e-9, f"At step {top} yours is {mine[top]:g}; the peak is 0.4."
    )
    same("The last step of the warm-up has the peak.", mine[9], 0.4, 1e-9, "Step 9 of 10")
    same("The warm-up is a straight line.", mine[:10], [0.04 * n for n in range(1, 11)], 1e-6, "Steps 0 to 9, peak 0.4")
    holds(
        "After the warm-up the rate falls to nearly 0.", mine[99] < 0.01, f"At step 99 of 100 yours is {mine[99]:.3g}."
    )
    same("Half-way down the rate is half of the peak.", mine[55], 0.2, 1e-6, "Step 55: warm-up 10, 45 of 90 steps done")
    same(
        "The way down is half a cosine.",
        mine[10:],
        [learning_rate.solution(s, 100, 10, 0.4) for s in range(10, 100)],
        1e-6,
        "Steps 10 to 99",
    )


@exercise(
    "medium",
    7,
    "The limit holds for one number: the length of all gradients together, as if they were one long vector.",
    "That length is the root of the sum of all squares, over all tensors.",
    "Where the length is above the limit, multiply every tensor by limit / length; else return them as they are.",
)
def clipped(gradients, limit):
    """The list of gradient tensors, all shortened by one factor so that their joint length is at most `limit`."""
    length = torch.cat([g.flatten() for g in gradients]).norm()
    factor = min(1.0, limit / length.item()) if length > 0 else 1.0
    return [factor * g for g in gradients]


@clipped.check
def _(answer):
    long, short = [torch.tensor([3.0, 0.0]), torch.tensor([[0.0], [4.0]])], [torch.tensor([0.3, 0.4])]
    mine = run(answer, long, 1.0)
    holds("There are as many tensors as before.", len(mine) == 2, f"Of 2 tensors you return {len(mine)}.")
    same("A short gradient stays as it is.", run(answer, short, 1.0)[0], short[0], case="Length 0.5, limit 1")
    length = math.sqrt(sum(float(g.square().sum()) for g in mine))
    same("All tensors together are at most `limit` long.", length, 1.0, 1e-5, "Lengths 3 and 4, together 5, limit 1")
    for n, (g, truth) in enumerate(zip(mine, (long[0] / 5, long[1] / 5), strict=True)):
        same("The direction stays: all values get one factor.", g, truth, case=f"Tensor {n} of [3, 0] and [[0], [4]]")
    zero = run(answer, [torch.zeros(2)], 1.0)[0]
    same("Gradients of 0 stay 0, without a division by 0.", zero, torch.zeros(2), case="Length 0")


@exercise(
    "hard",
    12,
    "Two running means: of the gradient (9/10 old) and of its square (999/1000 old). They begin at 0.",
    "Both start too small. Divide them by 1 - 0.9 ** step and 1 - 0.999 ** step: then they are means from step 1 on.",
    "First the decay: weight * (1 - lr * decay); then subtract lr * mean / (sqrt(square) + 1e-8), both as corrected.",
)
def adamw(weight, gradient, mean, square, step, lr, decay):
    """One step of AdamW (0.9, 0.999, 1e-8): returns (weight, mean, square) after it; step counts from 1."""
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    direction = mean / (1 - 0.9**step)
    size = (square / (1 - 0.999**step)).sqrt() + 1e-8
    weight = weight * (1 - lr * decay)
    return weight - lr * direction / size, mean, square


@adamw.check
def _(answer):
    weight, gradient, zero = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -0.001]), torch.zeros(2)
    result = run(answer, weight, gradient, zero, zero, 1, 0.1, 0.0)
    holds(
        "Three tensors come back: weight, mean, square.",
        isinstance(result, tuple) and len(result) == 3,
        f"Yours is a {type(result).__name__}.",
    )
    first, mean, square = result
    same("The mean keeps nine tenths of the old one.", mean, 0.1 * gradient, 1e-6, "From 0, gradient 0.5 and -0.001")
    same("The square keeps 999 of 1000 parts of the old one.", square, 0.001 * gradient**2, 1e-9, "From 0")
    same(
        "The first step has the length lr, for large and small gradients: both means are corrected.",
        first,
        weight - 0.1 * gradient.sign(),
        1e-3,
        "Step 1, lr 0.1, no decay, gradient 0.5 and -0.001",
    )
    faded = run(answer, weight, zero, zero, zero, 1, 0.1, 0.5)[0]
    same(
        "Decay shortens the weight by lr * decay of it, apart from the gradient.",
        faded,
        0.95 * weight,
        1e-5,
        "Gradient 0, lr 0.1, decay 0.5",
    )
    later = [torch.tensor([0.2, 0.3]), torch.tensor([0.04, 0.5])]
    same(
        "Later steps use the old means.",
        run(answer, weight, gradient, *later, 7, 0.1, 0.5)[0],
        adamw.solution(weight, gradient, *later, 7, 0.1, 0.5)[0],
        1e-5,
        "Step 7, lr 0.1, decay 0.5",
    )
