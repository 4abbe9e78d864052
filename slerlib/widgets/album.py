"""The photographs that an explorer offers: the one it was given, those that come with the package, the reader's own."""

from __future__ import annotations

import os
import warnings

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..images.files import read_bytes, read_image

Photograph = str | os.PathLike | Image.Image | Tensor
SIDE = 256  # pixels a side that are shown and restored: an answer within a tenth of a second on a laptop
GIVEN = "as given"


class Album:
    """Photographs by name, each at most side x side pixels.

    image: a clean photograph, a (3, H, W) float32 tensor in [0, 1] or what `read_image` takes; its central part is
    used. Raises UserError for no photograph and for a side below 1.
    """

    def __init__(self, image: Photograph, side: int = SIDE):
        self.side, self._own = side, {GIVEN: central(image, side)}

    @property
    def names(self) -> list[str]:
        from ..data.scenes import SOURCES

        return [*self._own, *(name for name in SOURCES if name not in self._own)]

    def __getitem__(self, name: str) -> Tensor:
        """(3, h, w) of the photograph of that name."""
        if name not in self._own:
            from ..data.scenes import photographs

            self._own |= {scene.name: central(scene.image, self.side) for scene in photographs() if scene.name == name}
        return self._own[name]

    def add(self, name: str, data: bytes) -> str:
        """Add the bytes of a picture file, made smaller until its shorter side fits -> its name in the list.

        Raises UserError as `read_bytes` does.
        """
        name = os.path.basename(name) or "own picture"
        self._own = {name: central(shrunk(read_bytes(data, name)[0], self.side), self.side)} | self._own
        return name


def shrunk(x_CHW: Tensor, shorter: int) -> Tensor:
    """The picture with a shorter side of at most so many pixels; each pixel is then a mean of many."""
    factor = shorter / min(x_CHW.shape[1:])
    if factor >= 1:
        return x_CHW
    height, width = (max(round(length * factor), 1) for length in x_CHW.shape[1:])
    return F.interpolate(x_CHW[None], (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)


def central(image: Photograph, side: int) -> Tensor:
    """(3, H, W) of at most side x side pixels, from the middle of a photograph. Raises UserError for no photograph."""
    from ..evaluation.cases import centre

    if side < 1:
        raise UserError(f"side is how many central pixels are used, 1 or more; got {side!r}. Leave it out for {SIDE}.")
    if isinstance(image, (str, os.PathLike, Image.Image)):
        image, meta = read_image(image)
        for note in meta.notes:  # of an animation, for example
            warnings.warn(note, stacklevel=4)
    if not isinstance(image, Tensor) or image.ndim != 3:
        raise UserError(
            "An explorer needs a clean photograph: a (3, H, W) tensor in [0, 1], a PIL image or the path of a file; "
            f"got {(*image.shape,) if isinstance(image, Tensor) else type(image).__name__}. Pass one photograph."
        )
    return centre(image, side)
