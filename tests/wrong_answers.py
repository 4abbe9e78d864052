"""Answers that learners give, by exercise: each with words of the rule that it breaks.

At least four for each exercise break four different rules; a test holds that, and that each message has an example.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from slerlib import sphere


def _in_place(gradients, limit):
    for g in gradients:
        g *= limit / 5
    return gradients


def _into_the_first(parts):
    total = parts[0]
    for part in parts[1:]:
        for n, g in enumerate(part):
            if g is not None:
                total[n] = g if total[n] is None else total[n].add_(g)
    return total


def _greedy(path, experts, score):
    for layer in range(len(path)):
        path = max(([*path[:layer], e, *path[layer + 1 :]] for e in range(experts)), key=score)
    return path


def _hard_dispatch(features, chosen, experts):
    return torch.stack([experts[int(e)](x[None])[0] for e, x in zip(chosen, features, strict=True)])


def _sorted_dispatch(features, chosen, experts):
    return torch.cat([experts[e](features[chosen == e]) for e in range(len(experts)) if (chosen == e).any()])


def _every_expert(features, chosen, experts):
    out = [expert(features) for expert in experts]
    return torch.stack([out[int(e)][row] for row, e in enumerate(chosen)])


def _whole_batch(features, chosen, experts):
    out = torch.empty_like(features)
    for e in chosen.unique().tolist():
        out[chosen == e] = experts[e](features)[chosen == e]
    return out


def _two_best(cosines):
    best = cosines.topk(2, 1).values
    return best[:, 0] - best[:, 1]


def _rescaled(x):
    return (x - x.min().clamp(max=0)) / (x.max().clamp(min=1) - x.min().clamp(max=0))


def _zeros_in_a_ring(rows, send):
    for _ in range(2 * (len(rows) - 1)):
        for r in range(len(rows)):
            send(r, 0)
    return [[sum(column) for column in zip(*rows, strict=True)] for _ in rows]


def _blur(x, weights, groups=3, mode="reflect"):
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode=mode), weights, groups=groups)


LINE = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
SOFT = (LINE[:, None] * LINE).expand(3, 1, 5, 5)


def _cosines(z, pins):
    return torch.einsum("bd,led->ble", z, pins)


def _ranked(z, pins, descending=True):
    return _cosines(z, pins).sort(dim=2, descending=descending)


def _boot(values, rng, size=None, quantiles=(0.025, 0.975), draws=2000):
    values = np.asarray(values)
    means = values[rng.integers(0, len(values), (draws, size or len(values)))].mean(axis=1)
    return values.mean(), *np.quantile(means, quantiles)


def _near(points, k, itself=False):
    distance = torch.cdist(points, points)
    return (distance if itself else distance.fill_diagonal_(torch.inf)).topk(k, largest=False).indices


def _overlap(z, chart, k):
    return (_near(z, k)[:, :, None] == _near(chart, k)[:, None]).any(2).double()


def _bh(p):
    order = np.argsort(p)
    return order, np.asarray(p)[order] * len(p) / np.arange(1, len(p) + 1)


def _right_q(p):
    order, q = _bh(p)
    return _own_order(np.minimum(np.minimum.accumulate(q[::-1])[::-1], 1), order)


def _own_order(values, order):
    result = np.empty_like(values)
    result[order] = values
    return result


def _entropy(p):
    return -(p[p > 0] * np.log(p[p > 0])).sum()


def _information(counts):
    p = counts / counts.sum()
    return _entropy(p.sum(1)), _entropy(p.sum(0)), _entropy(p)


def _forbid(similarity, layer, expert, value):
    allowed = similarity.copy()
    allowed[layer, expert] = value
    return allowed.argmax(axis=1)


def _bisect(sees, steps, answer):
    low, high = 0.0, 1.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if sees(middle) else (middle, high)
    return (low, high)[answer]


WRONG = {
    # 00
    "pixel_error": [
        (lambda psnr: 10 ** (psnr / 20), "More decibels"),
        (lambda psnr: 10 ** (-psnr / 10), "not squared"),
        (lambda psnr: 255 * 10 ** (-psnr / 20), "At 0 dB"),
        (lambda psnr: math.exp(-psnr / 20), "At 20 dB"),
        (lambda psnr: math.log10(psnr), "The function runs"),
    ],
    "margins": [
        (lambda z, pins: (pins @ z).amax(1) - (pins @ z).amin(1), "second nearest, not the farthest"),
        (lambda z, pins: (pins @ z).sort(1, True).values.diff(dim=1)[:, 0], "not negative"),
        (lambda z, pins: torch.rad2deg(torch.acos(pins @ z)).sort(dim=1).values.diff(dim=1)[:, 0], "not of angles"),
        (lambda z, pins: _two_best((pins @ z).abs()), "sign counts"),
        (lambda z, pins: (pins @ z).amax(1).max(), "one margin for each layer"),
        (lambda z, pins: (pins @ z).amax(1) - (pins @ z).sort(1).values[:, :2].mean(1), "minus the second best"),
    ],
    "lightest": [
        (lambda sees: 0.5, "look"),
        (lambda sees: _bisect(sees, 6, 0), "the rain is seen"),
        (lambda sees: _bisect(sees, 3, 1), "at most 0.05 too high"),
        (lambda sees: next(n / 20 for n in range(21) if sees(n / 20)), "Look seldom"),
        (lambda sees: next(n / 1000 for n in range(1001) if sees(n / 1000)), "Look seldom"),
        (lambda sees: 100 * _bisect(sees, 6, 1), "between 0 and 1"),
    ],
    # 01
    "add_noise": [
        (lambda x, sigma, n: (x + sigma * n).clamp(0, 1), "for values of 0 to 255"),
        (lambda x, sigma, n: x + sigma / 255 * n, "stay in 0 to 1"),
        (lambda x, sigma, n: (x + sigma / 255 * n).clamp(max=1), "stay in 0 to 1"),
        (lambda x, sigma, n: _rescaled(x + sigma / 255 * n), "all other values stay"),
        (lambda x, sigma, n: (x + (sigma / 255) ** 2 * n).clamp(0, 1), "the deviation sigma / 255"),
        (lambda x, sigma, n: (x * sigma / 255 * n).clamp(0, 1), "Without noise"),
        (lambda x, sigma, n: x.add_(sigma / 255 * n).clamp(0, 1), "arguments stay"),
    ],
    "undo_haze": [
        (lambda hazy, arrives, veil: hazy - veil, "white wall"),
        (lambda hazy, arrives, veil: hazy / arrives - veil, "black wall"),
        (lambda hazy, arrives, veil: (hazy - veil) * arrives, "white wall"),
        (lambda hazy, arrives, veil: (hazy - veil) / (1 - arrives), "Without haze"),
        (lambda hazy, arrives, veil: ((hazy - veil) / arrives).mean(0), "the shape"),
        (lambda hazy, arrives, veil: None, "returns a value"),
    ],
    "damaged_where": [
        (lambda clean, bad, mask: mask * clean + (1 - mask) * bad, "mask is 0"),
        (lambda clean, bad, mask: torch.where(mask > 0.5, bad, clean), "soft mask"),
        (lambda clean, bad, mask: clean + mask * bad, "mask is 1"),
        (lambda clean, bad, mask: clean * (1 - mask) + bad * mask**2, "equal pictures"),
    ],
    "motion_kernel": [
        (lambda size, length, angle: _line(size, length, angle) * length, "add up to 1"),
        (lambda size, length, angle: torch.ones(size, size) / size**2, "motion of one pixel"),
        (lambda size, length, angle: _line(size, length + 2 * (length > 1), angle), "`length` pixels long"),
        (lambda size, length, angle: _line(size, length, -angle), "up to the right"),
        (lambda size, length, angle: _line(size, length, angle + 90), "middle row"),
        (lambda size, length, angle: _line(size, length, angle).roll(int(length > 1), 1), "middle of the motion"),
        (lambda size, length, angle: _line(size, length, 0), "middle column"),
        (lambda size, length, angle: _line(length, length, angle), "size asked for"),
        (lambda size, length, angle: _line(size, length, 45 * math.ceil(angle / 45)), "direction of the angle"),
        (lambda size, length, angle: _line(size, length - 4 * (angle % 45 > 0 and length > 1), angle),
         "at every angle"),
        (lambda size, length, angle: _line(size, length, angle).roll(-(angle % 45 > 0 and length > 1), 1),
         "middle of the motion"),
        (lambda size, length, angle: _line(size, length, angle) if angle % 45 == 0 or length == 1
         else (_line(size, length, angle).roll(1, 0) + _line(size, length, angle).roll(-1, 0)) / 2, "thin line"),
    ],
    # 02
    "distance": [
        (lambda a, b: torch.acos(a @ b / a.norm() / b.norm()), "in degrees"),
        (lambda a, b: torch.rad2deg(torch.acos((a @ b).clamp(-1, 1))), "Only the direction"),
        (lambda a, b: (a / a.norm() - b / b.norm()).norm() * 90 / 2**0.5, "Opposite points"),
        (lambda a, b: torch.rad2deg(torch.asin((a @ b / a.norm() / b.norm()).clamp(-1, 1))), "A right angle has"),
        (lambda a, b: torch.rad2deg(torch.acos(a @ b / a.norm() / b.norm() * 1.0000002)), "whatever rounding|Opposite"),
    ],
    "corners": [
        (lambda k: torch.eye(k), "as low as it can be"),
        (lambda k: torch.eye(k) - 1 / k, "at the length 1"),
        (lambda k: torch.ones(k, k) / k**0.5, "points are different"),
        (lambda k: sphere.normalise(torch.randn(k, k)), "All pairs"),
        (lambda k: torch.eye(k - 1), "There are k points"),
    ],
    "border": [
        (lambda a, b, p, q: 0.5, "equally near"),
        (lambda a, b, p, q: 50.0, "half-way"),
        (lambda a, b, p, q: 1 - _t(a, b, p, q), "equally near"),
        (lambda a, b, p, q: _t(a, b, p, q) * torch.acos(a @ b).item(), "half-way"),
        (lambda a, b, p, q: 0.5 + 9 * (0.5 - _t(a, b, p, q)), "part of the way|equally near"),
        (lambda a, b, p, q: math.acos(2), "The function runs"),
    ],
    "switches": [
        (lambda path_at, steps: [(n / steps, 0) for n in range(1, steps + 1)], "stays has no changes"),
        (lambda path_at, steps: _changes(path_at, steps)[::2], "may change"),
        (lambda path_at, steps: list({layer: (t, layer) for t, layer in _changes(path_at, steps)}.values()), "twice"),
        (lambda path_at, steps: _changes(path_at, steps)[:-1] if steps == 10 else [], "change twice"),
        (lambda path_at, steps: [(t - 1 / steps, layer) for t, layer in _changes(path_at, steps)], "first step"),
        (lambda path_at, steps: [change for change in _changes(path_at, steps) if change[0] < 1], "last step"),
        (lambda path_at, steps: 2 * _changes(path_at, steps), "change twice|named once"),
    ],
    # 03
    "high_pass": [
        (lambda x: _blur(x, SOFT), "flat grey"),
        (lambda x: _blur(x, SOFT) - x, "not the blur minus"),
        (lambda x: x - _blur(x, SOFT, mode="constant"), "flat grey"),
        (lambda x: x - F.conv2d(x, SOFT, groups=3, padding=0).mean(), "flat|Each|weights|mirrored"),
        (lambda x: x - _blur(x, SOFT, mode="replicate"), "mirrored: `reflect`"),
        (lambda x: x - _blur(x, torch.full((3, 1, 5, 5), 1 / 25)), "The weights are"),
        (lambda x: x - _blur(x, SOFT[:, :1].expand(3, 3, 5, 5) / 3, groups=1), "Each colour"),
        (lambda x: x[..., 2:-2, 2:-2] - F.conv2d(x, SOFT, groups=3), "The size stays"),
    ],
    "nearest": [
        (lambda z, pins: _cosines(z, pins).argmax(2), "Two tensors"),
        (lambda z, pins: (_cosines(z, pins).argmax(2).tolist(), None), "is of the kind that"),
        (lambda z, pins: (_ranked(z, pins, False)[1][:, :, 0], _ranked(z, pins)[0][:, :, 0]), "the largest cosine"),
        (lambda z, pins: (_cosines(z, pins).argmax(2), _ranked(z, pins)[0].diff(dim=2)[:, :, 0]), "never negative"),
        (lambda z, pins: (_cosines(z, pins).argmax(2), _cosines(z, pins).amax(2) - _cosines(z, pins).amin(2)),
         "minus the second best"),
        (lambda z, pins: [_ranked(z, pins)[0][:, :, 0], _cosines(z, pins).argmax(2)], "Path first, then margin"),
        (lambda z, pins: (_ranked(z, pins)[0][:, :, 0], _ranked(z, pins)[0][:, :, 1]), "Path first, then margin"),
        (lambda z, pins: (_cosines(z, pins).argmax(1), _cosines(z, pins).amax(1)), "one expert at each layer"),
    ],
    "dispatch": [
        (_sorted_dispatch, "keep their place"),
        (_every_expert, "nobody chose"),
        (_whole_batch, "its own group alone"),
        (_hard_dispatch, "runs once"),
        (lambda features, chosen, experts: experts[int(chosen[0])](features), "its own expert"),
        (lambda features, chosen, experts: experts[0](features).mean(0), "the shape of the features"),
    ],
    "choice_factor": [
        (lambda p: 1 + p - p.detach(), "exactly 1"),
        (lambda p: p, "would be dimmed"),
        (lambda p: torch.ones_like(p), "gradient reaches"),
        (lambda p: p / p, "not 0"),
        (lambda p: p.detach() / p, "stronger"),
        (lambda p: 1.0, "is a tensor"),
        (lambda p: p / p.numpy(), "The function runs"),
    ],
    # 04
    "restoration_loss": [
        (lambda a, b, w: (a - b).mean() + w * torch.fft.rfft2(a - b, norm="ortho").abs().mean(), "count alike"),
        (lambda a, b, w: (a - b).square().mean() * (1 + w), "by absolute value"),
        (lambda a, b, w: (a - b).abs().mean() + w * torch.fft.rfft2(a - b).abs().mean(), "real and imaginary"),
        (lambda a, b, w: (a - b).abs().mean()
         + w * torch.view_as_real(torch.fft.fft2(a - b, norm="ortho")).abs().mean(), "is `rfft2`"),
        (lambda a, b, w: (a - b).abs(), "one number"),
        (lambda a, b, w: (a - b).abs().mean() + 1e-3, "loss 0"),
        (lambda a, b, w: (a - b).abs().mean() + w * torch.fft.rfft2(a - b).abs().square().mean(), "Twice the error"),
    ],
    "learning_rate": [
        (lambda step, steps, warmup, peak: peak * step / warmup if step < warmup else peak, "first step"),
        (lambda step, steps, warmup, peak: peak * min(1, (step + 1) / warmup), "falls to nearly 0"),
        (lambda step, steps, warmup, peak: peak * (step or 0.001) / warmup if step < warmup else 0.001,
         "last step of the warm-up"),
        (lambda step, steps, warmup, peak: peak * (step + 1) / warmup * (1 - step / steps), "above the peak"),
        (lambda step, steps, warmup, peak: peak * min((step + 1) / warmup, (steps - step) / (steps - warmup)),
         "half a cosine"),
        (lambda step, steps, warmup, peak: peak * (1 + math.cos(math.pi * step / steps)) / 2,
         "last step of the warm-up"),
        (lambda step, steps, warmup, peak: peak * ((step + 1) / warmup) ** 2 if step < warmup else 0.001,
         "straight line"),
    ],
    "clipped": [
        (lambda g, limit: [x / x.norm() * limit for x in g], "short gradient"),
        (lambda g, limit: [x * min(1, limit / float(x.norm())) if x.any() else x for x in g], "All tensors together"),
        (lambda g, limit: [x.clamp(-limit, limit) for x in g], "All tensors together"),
        (lambda g, limit: [torch.cat([x.flatten() for x in g])], "as many tensors"),
        (lambda g, limit: [x * min(1, limit / torch.cat([y.flatten() for y in g]).norm()) for x in reversed(g)],
         "short gradient|one factor|the shape"),
        (lambda g, limit: [x * (limit / torch.cat([y.flatten() for y in g]).norm()).clamp(max=1) if x.any() else x + 1
                           for x in g], "without a division"),
        (lambda g, limit: [x.clamp(-(limit / 2**0.5), limit / 2**0.5) for x in g], "one factor"),
        (_in_place, "arguments stay"),
    ],
    "adamw": [
        (lambda w, g, m, s, step, lr, decay: w - lr * g, "Three tensors"),
        (lambda w, g, m, s, step, lr, decay: _adam(w, g, m, s, lr, decay, 1, 1), "the length lr"),
        (lambda w, g, m, s, step, lr, decay: _adam(w, g + decay * w, m, s, lr, 0, 1 - 0.9**step, 1 - 0.999**step),
         "apart from"),
        (lambda w, g, m, s, step, lr, decay: _adam(w, g, 0 * m, s, lr, decay, 1 - 0.9**step, 1 - 0.999**step),
         "old means"),
        (lambda w, g, m, s, step, lr, decay: (w, g, s), "nine tenths"),
        (lambda w, g, m, s, step, lr, decay: (w, 0.1 * g, 0.001 * g.abs()), "999 of 1000"),
    ],
    # 05
    "psnr_of_files": [
        (lambda a, b: -10 * math.log10(((a - b).astype(float) ** 2).mean() / 255**2), "as near as brighter"),
        (lambda a, b: -10 * math.log10(((a.astype(float) - b) ** 2).mean()), "48.13"),
        (lambda a, b: -10 * math.log10(((a.astype(np.int16) - b.astype(np.int16)) ** 2).mean() / 255**2),
         "Large differences"),
        (lambda a, b: -20 * math.log10(np.abs(a / 255 - b / 255).mean()), "averaged before|squared"),
        (lambda a, b: float(np.mean([-10 * math.log10(((a / 255 - b / 255) ** 2)[..., c].mean() + 1e-12)
                                     for c in range(3)])), "averaged before"),
        (lambda a, b: -20 * math.log10(np.abs(a / 255 - b / 255).max()), "averaged before|squared"),
        (lambda a, b: -20 * math.log10(np.sqrt(((a / 255 - b / 255) ** 2).sum(-1) / 3).mean()), "squared"),
    ],
    "bootstrap": [
        (lambda values, rng: (np.mean(values), *np.quantile(values, [0.025, 0.975])), "not that of single"),
        (lambda values, rng: _boot(values, rng, quantiles=(0.0, 1.0)), "holds 95 %|single values"),
        (lambda values, rng: _boot(values, rng, quantiles=(0.25, 0.75)), "95 % stay inside"),
        (lambda values, rng: _boot(values, rng)[1:], "three numbers"),
        (lambda values, rng: _boot(values, np.random.default_rng(0)), "come from `rng`"),
        (lambda values, rng: _boot(values, np.random.default_rng()), "come from `rng`"),
        (lambda values, rng: (np.mean(values), *np.quantile([rng.permutation(values).mean() for _ in range(200)],
                                                            [0.025, 0.975])), "with replacement"),
        (lambda values, rng: (np.median(values), *_boot(values, rng)[1:]), "mean of the values themselves"),
        (lambda values, rng: (np.mean(values), *_boot(values, rng)[:0:-1]), "inside its interval"),
        (lambda values, rng: _boot(values, rng, size=5), "holds 95 %"),
        (lambda values, rng: _mean_and(values, 1.96 * np.std(values) / len(values) ** 0.5), "means that were drawn"),
        (lambda values, rng: _mean_and(values, 1.96 * np.std(values, ddof=1) / len(values) ** 0.5), "were drawn"),
    ],
    "photographs_for": [
        (lambda width, s: (2 * 1.96 * s / width) ** 2, "whole"),
        (lambda width, s: math.ceil((1.96 * s / width) ** 2), "both sides together"),
        (lambda width, s: math.ceil(2 * 1.96 * s / width), "four times"),
        (lambda width, s: math.ceil((1.96 / width) ** 2), "Twice the deviation"),
        (lambda width, s: math.ceil(97 * (0.2 / width) ** 2 * (s / 0.5) ** 2), "rounded up"),
        (lambda width, s: math.ceil((4 * 1.96 * s / width) ** 2), "No more"),
        (lambda width, s: math.ceil((s / width) ** 2), "both sides together"),
        (lambda width, s: math.ceil((4 * s / width) ** 2), "1.96 standard errors"),
        (lambda width, s: math.ceil(4 * s / width), "four times"),
    ],
    "similarity": [
        (lambda a, b, window: _ssim(a, b, window, 1.0), "49 / 48"),
        (lambda a, b, window: 1 - float((a - b).abs().mean()), "light alone|opposite"),
        (lambda a, b, window: window(a * b), "one number"),
        (lambda a, b, window: float((window(a * b) / window(a * a)).mean()), "from b to a"),
        (lambda a, b, window: float((2 * window(a) * window(b) / (window(a) ** 2 + window(b) ** 2)).mean()),
         "light alone|opposite"),
        (lambda a, b, window: float(window(a * b).mean()), "to itself"),
        (lambda a, b, window: abs(_ssim(a, b, window, 49 / 48)), "opposite structure"),
        (lambda a, b, window: _correlation(a, b, window), "contrast|light alone"),
    ],
    # 06
    "to_places": [
        (lambda a, b: torch.stack([a.cos() * b.cos(), a.cos() * b.sin(), a.sin()], 1), "north pole"),
        (lambda a, b: torch.stack([a.sin() * b.cos(), a.sin() * b.sin(), a.cos()]), "Points keep|north|each point"),
        (lambda a, b: torch.stack([a.sin() * b.sin(), a.sin() * b.cos(), a.cos()], 1), "from x to y"),
        (lambda a, b: torch.stack([a.sin() * b.cos(), a.sin() * b.sin(), a.cos().abs()], 1), "south pole"),
        (lambda a, b: torch.stack([b.cos(), b.sin(), a.cos()], 1), "north pole"),
        (lambda a, b: torch.stack([a.sin(), b.sin()], 1), "three numbers"),
        (lambda a, b: torch.stack([a.sin().round() * b.cos(), a.sin().round() * b.sin(), a.cos()], 1),
         "at the length 1"),
    ],
    "nearest_other": [
        (lambda z, scene: (z @ z.T).argmax(1), "its own neighbour"),
        (lambda z, scene: (z @ z.T).fill_diagonal_(-9).argmax(1), "another photograph|own"),
        (lambda z, scene: (z @ z.T).masked_fill(scene[:, None] == scene, 9).argmin(1), "largest cosine"),
        (lambda z, scene: (z @ z.T).masked_fill(scene[:, None] == scene, 0).argmax(1), "-inf and not 0"),
        (lambda z, scene: (z @ z.T).masked_fill(scene[:, None] == scene, -9).topk(5).indices, "one neighbour"),
        (lambda z, scene: (z @ z.T).masked_fill(scene[:, None] != scene, -9).fill_diagonal_(-9).argmax(1),
         "another photograph"),
    ],
    "neighbours_kept": [
        (lambda z, chart, k: (_near(z, k + 1, True)[:, :, None] == _near(chart, k + 1, True)[:, None]).any(2)
         .double().mean().item(), "its own neighbour"),
        (lambda z, chart, k: (_near(z, k) == _near(chart, k)).double().mean().item(), "order among"),
        (lambda z, chart, k: _overlap(z, chart, k).sum(1).mean().item(), "changes nothing"),
        (lambda z, chart, k: (_overlap(z, chart, k).sum(1) > 0).double().mean().item(), "not all"),
        (lambda z, chart, k: (_overlap(z, chart, k).sum(1) / (2 * k - _overlap(z, chart, k).sum(1))).mean().item(),
         "whatever else"),
    ],
    # 07
    "nmi": [
        (lambda c: sum(_information(c)[:2]) - _information(c)[2], "everything: 1"),
        (lambda c: (sum(_information(c)[:2]) - _information(c)[2]) / max(_information(c)[1], 1e-9), "and back"),
        (lambda c: (sum(_information(c)[:2]) - _information(c)[2]) / min(_information(c)[:2]), "mean of both"),
        (lambda c: float((c.max(1) / c.sum(1)).mean()), "nothing: 0"),
        (lambda c: 1.0 - c[0, 1] / c[0, 0] if c[0, 0] < 9 else 0.3, "ten times"),
    ],
    "without": [
        (lambda s, layer, expert: s.argmax(axis=1), "forbidden expert"),
        (lambda s, layer, expert: _forbid(s, layer, expert, 0), "forbidden expert|next nearest"),
        (lambda s, layer, expert: _forbid(s, slice(None), expert, -9), "other layers"),
        (lambda s, layer, expert: np.where(np.arange(4) == layer, 0, s.argmax(1)), "next nearest"),
        (lambda s, layer, expert: np.where(np.arange(4) == layer, np.argsort(-s, 1)[:, 1], s.argmax(1)),
         "without effect"),
        (lambda s, layer, expert: s[layer].argmax(), "for each layer"),
    ],
    "best_neighbour": [
        (lambda path, experts, score: path, "exactly one layer"),
        (lambda path, experts, score: [0, 1, 2], "one expert for each layer"),
        (lambda path, experts, score: [path[0] + 1, *path[1:]], "All 16"),
        (lambda path, experts, score: [9, *path[1:]], "have the numbers"),
        (lambda path, experts, score: min(_all_neighbours(path), key=score), "highest score"),
        (lambda path, experts, score: max(_all_neighbours(path)[:8], key=score), "All 16"),
        (lambda path, experts, score: max([path, *_all_neighbours(path)], key=score), "itself is not a neighbour"),
        (_greedy, "exactly one layer"),
        (lambda path, experts, score: max(map(score, _all_neighbours(path))), "not its score"),
        (lambda path, experts, score: (max(_all_neighbours(path), key=score), 1.0), "without its score"),
    ],
    # 08
    "interval": [
        (lambda gaps, t: _mean_and(gaps, t * np.std(gaps) / len(gaps) ** 0.5), "are a sample"),
        (lambda gaps, t: _mean_and(gaps, t * np.std(gaps, ddof=1)), "interval of the mean"),
        (lambda gaps, t: _mean_and(gaps, 1.96 * np.std(gaps, ddof=1) / len(gaps) ** 0.5), "Few seeds"),
        (lambda gaps, t: _mean_and(gaps, t * np.var(gaps, ddof=1) / len(gaps) ** 0.5), "t standard errors"),
        (lambda gaps, t: (np.median(gaps), 0.0, 4.0), "is the mean"),
        (lambda gaps, t: (3.0, min(gaps), max(gaps)), "as far down"),
        (lambda gaps, t: _mean_and(gaps, t * np.std(gaps, ddof=1) / 3**0.5), "whatever it is"),
        (lambda gaps, t: _mean_and(gaps, t * np.std(gaps, ddof=1) / len(gaps) ** 0.5)[1:], "three numbers"),
    ],
    "smallest_shown": [
        (lambda gaps: min(gaps, key=lambda pair: gaps[pair][0]), "first of the pair"),
        (lambda gaps: min((p for p in gaps if gaps[p][0] > 0), key=lambda p: gaps[p][0]), "leaves out 0"),
        (lambda gaps: max(gaps, key=lambda pair: gaps[pair][0]), "No shown difference"),
        (lambda gaps: min((p for p in gaps if gaps[p][1] > 0), key=lambda p: gaps[p][1]), "mean decides"),
        (lambda gaps: gaps["sler", "linear"], "one of the pairs"),
        (lambda gaps: min((p for p in gaps if gaps[p][1] > 0), key=lambda p: gaps[p][2]), "or its width"),
        (lambda gaps: min((p for p in gaps if gaps[p][1] > 0), key=lambda p: gaps[p][2] - gaps[p][1]), "or its width"),
        (lambda gaps: min((p for p in gaps if gaps[p][1] * gaps[p][2] > 0), key=lambda p: abs(gaps[p][0])),
         "first of the pair"),
        (lambda gaps: [min((p for p in gaps if gaps[p][1] > 0), key=lambda p: gaps[p][0])], "one pair, a tuple"),
    ],
    "corrected": [
        (lambda p: np.minimum(p * len(p), 1), "times m / rank"),
        (lambda p: np.minimum(np.minimum.accumulate(_bh(p)[1][::-1])[::-1], 1), "order of the claims"),
        (lambda p: _own_order(_bh(p)[1], _bh(p)[0]), "Equal p values"),
        (lambda p: np.asarray(p) * 1.0, "times m / rank"),
        (lambda p: p * 2, "One claim alone"),
        (lambda p: np.where(p == 0.04, 0.02, _right_q(p)), "larger p"),
        (lambda p: np.where(p == 0.5, 2.0, _right_q(p)), "above 1"),
        (lambda p: np.where(p == 0.04, 0.06, _right_q(p)), "from its rank on"),
    ],
    # 09
    "my_samples": [
        (lambda total, world, rank: range(rank * (total // world), (rank + 1) * (total // world)), "sample is taken"),
        (lambda total, world, rank: range(rank * -(-total // world), (rank + 1) * -(-total // world)), "There are"),
        (lambda total, world, rank: range(total), "taken twice"),
        (lambda total, world, rank: (total * rank // world, total * (rank + 1) // world), "numbers themselves"),
        (lambda total, world, rank: range(rank * (total // world),
                                          total if rank == world - 1 else (rank + 1) * (total // world)), "sizes"),
    ],
    "joined": [
        (lambda g, sizes: sum(g) / len(g), "number of samples"),
        (lambda g, sizes: sum(g), "agree stay"),
        (lambda g, sizes: sum(n * x for n, x in zip(sizes, g, strict=True)) / len(g), "agree stay"),
        (lambda g, sizes: sizes[0] / sum(sizes) * g[0] + (1 - sizes[0] / sum(sizes)) * g[1], "any number"),
        (lambda g, sizes: sum(x / n for n, x in zip(sizes, g, strict=True)) / sum(1 / n for n in sizes),
         "number of samples"),
        (lambda g, sizes: sum(n**2 * x for n, x in zip(sizes, g, strict=True)) / sum(n**2 for n in sizes),
         "number of samples"),
        (lambda g, sizes: g[0], "plain average"),
    ],
    "ring": [
        (lambda rows, send: [[sum(column) for column in zip(*rows, strict=True)] for _ in rows], "`send` alone"),
        (lambda rows, send: [send(0, row) for row in rows], "sums of all chunks"),
        (lambda rows, send: [sum(column) for column in zip(*rows, strict=True)], "one row for each process"),
        (lambda rows, send: [[sum(send(r, x) for r, x in enumerate(c)) for c in zip(*rows, strict=True)] for _ in rows],
         "more than 2"),
        (lambda rows, send: [[sum(c) + 0 * send(0, 0) * (n == k == 0) for k, c in enumerate(zip(*rows, strict=True))]
                             for n in range(len(rows))], "more than 2|share the work"),
        (lambda rows, send: [[sum(c) + (0 * send(0, 0) if n == k == 0 else 0)
                              for k, c in enumerate(zip(*rows, strict=True))]
                             for n in range(len(rows))], "share the work"),
        (_zeros_in_a_ring, "numbers themselves travel"),
        (lambda rows, send: [[send(r, sum(c)) for c in zip(*rows, strict=True)] for r in range(len(rows))],
         "sends what it has"),
    ],
    "summed": [
        (lambda parts: [sum(own) if (own := [g for g in c if g is not None and g.any()]) else None
                        for c in zip(*parts, strict=True)], "gradient of 0 is a gradient"),
        (lambda parts: [sum(torch.zeros(2) if g is None else g for g in c) for c in zip(*parts, strict=True)],
         "nobody used"),
        (lambda parts: [None if any(g is None for g in c) else sum(c) for c in zip(*parts, strict=True)],
         "one process used"),
        (lambda parts: [sum(own) / len(own) if (own := [g for g in c if g is not None]) else None
                        for c in zip(*parts, strict=True)], "not averaged"),
        (lambda parts: [sum(g for g in c if g is not None) if c[0] is not None else None
                        for c in zip(*parts, strict=True)], "Any process"),
        (lambda parts: [sum(c) for c in zip(*parts, strict=True)], "The function runs"),
        (_into_the_first, "arguments stay"),
    ],
}  # fmt: skip


def _t(a, b, pin_a, pin_b):
    omega, d = torch.acos(a @ b), pin_a - pin_b
    return (torch.atan2(omega.sin() * (a @ d), omega.cos() * (a @ d) - b @ d) / omega).item()


def _mean_and(gaps, half):
    return np.mean(gaps), np.mean(gaps) - half, np.mean(gaps) + half


def _all_neighbours(path):
    return [[*path[:n], e, *path[n + 1 :]] for n in range(8) for e in range(3) if e != path[n]]


def _line(size, length, angle):
    kernel, turn = torch.zeros(max(size, length), max(size, length)), math.radians(angle)
    middle = len(kernel) // 2
    for s in torch.linspace(-(length - 1) / 2, (length - 1) / 2, 180).tolist():
        kernel[round(middle - s * math.sin(turn)), round(middle + s * math.cos(turn))] += 1
    return kernel / kernel.sum()


def _changes(path_at, steps):
    paths = [path_at(n / steps) for n in range(steps + 1)]
    pairs = zip(paths[:-1], paths[1:], strict=True)
    return [(n / steps, k) for n, (p, q) in enumerate(pairs, 1) for k in range(len(p)) if p[k] != q[k]]


def _adam(weight, gradient, mean, square, lr, decay, first, second):
    mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
    return weight * (1 - lr * decay) - lr * (mean / first) / ((square / second).sqrt() + 1e-8), mean, square


def _ssim(a, b, window, factor):
    ma, mb = window(a), window(b)
    va, vb, cov = (factor * (window(x * y) - window(x) * window(y)) for x, y in ((a, a), (b, b), (a, b)))
    light = (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
    return ((2 * cov + 0.03**2) / (va + vb + 0.03**2) * light).mean().item()


def _correlation(a, b, window):
    va, vb, cov = (window(x * y) - window(x) * window(y) for x, y in ((a, a), (b, b), (a, b)))
    return ((cov + 0.03**2) / ((va * vb).clamp(min=0).sqrt() + 0.03**2)).mean().item()
