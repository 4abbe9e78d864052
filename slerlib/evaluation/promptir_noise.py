"""Test noise as PromptIR and AdaIR draw it: standard normals from one numpy stream that starts at seed 0. [paper]"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..images.files import read_image
from .crops import cropped


class PromptIRNoise:
    """Noisy copies of a list of photographs, which may be asked for in any order.

    Each image takes H x W x 3 numbers in its turn, so its noise depends on the images before it. Images that are not
    asked for are drawn and dropped. PromptIR lists the folder in the order of the file system, this class in the order
    of the names; otherwise the inputs are equal.
    """

    def __init__(self, crop: str):
        self.crop, self.files = crop, []
        self._rewind()

    def _rewind(self) -> None:
        self.stream, self.next = np.random.RandomState(0), 0

    def add(self, files: Sequence[Path]) -> int:
        """Append draws, one per file; returns the number of the first."""
        self.files += files
        return len(self.files) - len(files)

    def noisy(self, draw: int, sigma: float) -> tuple[Tensor, Tensor]:
        """(3, H, W) of that draw's photograph with noise, in steps of 1/255, and without."""
        if draw < self.next:
            self._rewind()
        for file in self.files[self.next : draw]:
            self.stream.randn(self._count(file))
        self.next = draw + 1
        clean_CHW = cropped(read_image(self.files[draw])[0], self.crop, self.files[draw])
        clean_HWC = clean_CHW.double().mul(255).round().permute(1, 2, 0).numpy()
        noisy_HWC = np.clip(clean_HWC + self.stream.randn(*clean_HWC.shape) * sigma, 0, 255).astype(np.uint8)  # floors
        return torch.from_numpy(noisy_HWC).permute(2, 0, 1).contiguous().float() / 255, clean_CHW

    def _count(self, file: Path) -> int:
        """Numbers that an image takes, from its header."""
        from PIL import Image

        with Image.open(file) as picture:
            width, height = picture.size
        return 3 * (height // 16 * 16) * (width // 16 * 16) if self.crop == "center16" else 3 * height * width
