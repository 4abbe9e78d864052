"""What is done to a patch in training: one degradation or several, everywhere or in a soft mask [ours].

A picture with a mask holds two regions, and each place has the labels of what was done there: `parts` inside, `outside`
where the mask is 0. Outside it is clean, or damaged in another way for a share ELSEWHERE of the masks.
Legend: H W pixels of the patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import DataConfig
from ..errors import UserError
from .degrade import MADE, NOISE_CLASSES, degrade, kernel_of_severity
from .masks import SHAPES, mask

WALL = 0.5  # share of the synthetic rain that is made without depth, as in evaluation, Rain100L and DDN
THREE = 0.25  # share of the composites with three degradations
ELSEWHERE = 0.25  # share of the masks with a degradation outside
ON_TOP = ("noise", "lowlight")  # kinds that a composite adds to the input of a real pair: what a camera adds last
NATURAL = {"haze": "depth", "blur": "object", "lowlight": "shadow"}  # half of the masks of such a class
NIGHT = (1.3, 4.0)  # powers of the curve that makes a photograph dark by nature
WHITE = 0.75  # the least that white becomes in it
Depth = Callable[[], Tensor]  # (H, W) metres, made where it is needed


class Damage(NamedTuple):
    image: Tensor  # (3, H, W) degraded
    where: Tensor  # (H, W) 1 where the picture has its own labels, 0 where it has those of `outside`
    outside: tuple[int, ...]  # labels; those of the picture where the mask is 1 everywhere


def by_night(clean: Tensor, rng: np.random.Generator) -> Tensor:
    """A photograph (3, H, W) that is dark by nature, in steps of 1/255. It counts as clean.

    Low light is made on photographs as they are: beside the dark ones, darkness alone does not tell it.
    """
    power, white = np.exp(rng.uniform(*np.log(NIGHT))), rng.uniform(WHITE, 1)
    return (255 * white * clean.pow(power)).round() / 255


class Damages:
    """Draws degradations for the labels of a sample.

    Raises UserError for composites of fewer than two kinds, and for masks without a class for what is outside.
    """

    def __init__(self, classes: Sequence[str], cfg: DataConfig, seed: int, kernels: Sequence[Tensor] = ()):
        """kernels: measured blur kernels, of data.kernel_share of the blur that is made."""
        self.classes, self.cfg, self.seed, self.kernels = tuple(classes), cfg, seed, tuple(kernels)
        kinds: dict[str, list[int]] = {}  # noise levels are one kind: no image has two
        for label, name in enumerate(self.classes):
            if name in MADE:
                kinds.setdefault("noise" if name in NOISE_CLASSES else name, []).append(label)
        self.clean = kinds.pop("clean", [None])[0]
        self.kinds = list(kinds.values())
        self.added = [labels for name, labels in kinds.items() if name in ON_TOP]
        if cfg.composite_share and len(self.kinds) < 2:
            raise UserError(
                f"A composite needs two kinds of degradation; model.classes has {', '.join(self.classes)}. "
                "Add one, or set data.composite_share=0."
            )
        if cfg.local_share and self.clean is None:
            raise UserError(
                f"Outside a mask a picture is clean, which needs the class 'clean'; model.classes has "
                f"{', '.join(self.classes)}. Add it, or set data.local_share=0."
            )

    def composite(self, number: int) -> tuple[int, ...]:
        """Labels of composite `number`: two kinds of degradation or, for a share THREE of them, three.

        All pairs of kinds are equally frequent, and so are all sets of three.
        """
        rng = np.random.default_rng([self.seed, 10, number])
        count = 3 if len(self.kinds) > 2 and rng.random() < THREE else 2
        kinds = rng.choice(len(self.kinds), count, replace=False)
        return tuple(sorted(int(rng.choice(self.kinds[kind])) for kind in kinds))

    def in_composites(self, label: int) -> float:
        """Share of the composites that hold the kind of a label."""
        count = len(self.kinds)
        return (2 + THREE) / count if count > 2 else float(count > 1)

    def on_top(self, label: int) -> list[int]:
        """Labels that a composite may add to a real input of the class `label`."""
        return [k for kind in self.added if label not in kind for k in kind]

    def __call__(
        self, clean: Tensor, real: Tensor | None, parts: tuple[int, ...], depth: Depth, own: np.random.Generator,
        *key: int, added: tuple[int, ...] = (),
    ) -> Damage:  # fmt: skip
        """The patch `clean` (3, H, W) with the labels `parts`, from a generator of its own.

        real: the patch of the input of a real pair, on which `added`, those of the parts that it lacks, are made; in a
        mask, where there is one. key: seeds the mask. The severities of a composite come from the lower half of
        data.severity, so that the scene stays visible.
        """
        base, synthetic = (clean, parts) if real is None else (real, added)
        made = self._made(base, synthetic, len(parts) > 1, own, depth) if synthetic else None
        whole = made(synthetic) if made else base
        rng = np.random.default_rng([self.seed, 11, *key])
        if parts == (self.clean,) or rng.random() >= self.cfg.local_share:
            return Damage(whole, torch.ones(clean.shape[1:]), parts)
        shape = self._shape(parts, rng)
        scene = depth() if shape == "depth" else None
        where = mask(shape, *clean.shape[1:], int(rng.integers(1 << 31)), image=clean, depth=scene)
        outside, rest = (self.clean,), clean
        if added:
            outside, rest = tuple(k for k in parts if k not in added), base
        elif rng.random() < ELSEWHERE:
            if len(parts) > 1:  # one of them is everywhere, the others are in the mask
                outside = (int(rng.choice(parts)),)
                rest = made(outside)
            elif others := [kind for kind in self.kinds if parts[0] not in kind]:
                outside = (int(rng.choice(others[rng.integers(len(others))])),)
                rest = self._made(clean, outside, False, rng, depth)(outside)
                where = where if where.mean() >= 0.5 else 1 - where  # the picture has the label of the larger region
        return Damage(where * whole + (1 - where) * rest, where, outside)

    def _shape(self, parts: tuple[int, ...], rng: np.random.Generator) -> str:
        natural = [NATURAL[name] for name in (self.classes[k] for k in parts) if name in NATURAL]
        return str(rng.choice(natural if natural and rng.random() < 0.5 else SHAPES))

    def _made(self, image: Tensor, labels: tuple[int, ...], several: bool, rng: np.random.Generator, depth: Depth):
        """A function: some of these labels -> the image with these degradations, each the same in every call."""
        names, (low, high) = [self.classes[k] for k in labels], self.cfg.severity
        high = (low + high) / 2 if several else high
        severity, seed = {k: float(rng.uniform(low, high)) for k in labels}, int(rng.integers(1 << 31))
        wall = "haze" not in names and rng.random() < WALL
        scene = None if wall or not {"haze", "rain"} & {*names} else depth()
        kernel = self._kernel(severity[self.classes.index("blur")], seed) if "blur" in names else None

        def made(some: tuple[int, ...]) -> Tensor:
            chosen, levels = [self.classes[k] for k in some], [severity[k] for k in some]
            mine = kernel if "blur" in chosen else None
            return degrade(image, chosen, levels, seed, depth=scene, kernel=mine, dark=self.cfg.dark)

        return made

    def _kernel(self, severity: float, seed: int) -> Tensor | None:
        """A measured kernel for data.kernel_share of the blur."""
        rng = np.random.default_rng([self.seed, 16, seed])
        if not self.kernels or rng.random() >= self.cfg.kernel_share:
            return None
        return kernel_of_severity(self.kernels[int(rng.integers(len(self.kernels)))], severity, rng)
