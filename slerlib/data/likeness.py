"""Do two files show the same picture, and are the two images of a pair aligned? [ours]

Same picture: a perceptual hash proposes pairs, the correlation of small greyscale copies decides. Alignment: the
correlation over all shifts of locally normalised log-brightness, which does not depend on the exposure.
Legend: N M pictures, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import dctn, irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 64  # pixels a side of the small copies
HASH_SIDE, HASH_BITS = 32, 8  # the hash: 8 x 8 lowest frequencies of the copy at 32 x 32
NEAR = 8  # bits of 64 in which the hashes of one picture may differ
CLEAR = 0.5  # correlation from which an alignment is accepted without smoothing
SAME = 0.95  # correlation of the small copies of one picture: other encodings of BSDS photographs reach 0.963 and more,
# neighbouring frames of a hand-held video up to 0.89, different photographs up to 0.76


def small_copy(image_CHW: np.ndarray) -> np.ndarray:
    """(64, 64) greyscale copy of a picture, both uint8."""
    from PIL import Image

    grey = Image.fromarray(np.ascontiguousarray(image_CHW.transpose(1, 2, 0))).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def phash(small_HW: np.ndarray) -> np.uint64:
    """Perceptual hash of a (64, 64) greyscale copy: which of the 8 x 8 lowest cosine frequencies exceed their median.

    The frequency 0, the brightness, is left out of the median. After the pHash of Zauner (2010).
    """
    half = small_HW.astype(np.float64).reshape(HASH_SIDE, 2, HASH_SIDE, 2).mean((1, 3))
    low = dctn(half, norm="ortho")[:HASH_BITS, :HASH_BITS].ravel()
    return np.packbits(low > np.median(low[1:])).view(">u8")[0].astype(np.uint64)


def near(a_N: np.ndarray, b_M: np.ndarray, bits: int = NEAR) -> np.ndarray:
    """(K, 2) indices of the hashes of a and b that differ in at most `bits` bits."""
    rows = max(1, 2**24 // max(1, len(b_M)))
    pairs = [np.empty((0, 2), np.intp)]
    for start in range(0, len(a_N), rows):
        distance = np.bitwise_count(a_N[start : start + rows, None] ^ b_M[None])
        pairs.append(np.argwhere(distance <= bits) + [start, 0])
    return np.concatenate(pairs)


def correlation(a_HW: np.ndarray, b_HW: np.ndarray) -> float:
    """Pearson correlation of two copies, -1..1; 0 where one is flat."""
    a, b = (x.astype(np.float64) - x.mean() for x in (a_HW, b_HW))
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if min(a.std(), b.std()) > 1 else 0.0


def picture_numbers(small: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) number of the picture that each small copy shows; a flat copy counts as a picture of its own."""
    clear = np.flatnonzero([copy.std() > 1 for copy in small])
    hashes = np.array([phash(small[n]) for n in clear], np.uint64)
    close = clear[near(hashes, hashes)].reshape(-1, 2)
    links = [(a, b) for a, b in close if a < b and correlation(small[a], small[b]) >= SAME]
    rows, columns = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), (len(small), len(small)))
    return connected_components(graph, directed=False)[1]


def alignment(dark_HW: np.ndarray, bright_HW: np.ndarray) -> tuple[tuple[int, int], float, float]:
    """((down, right), at the shift, unshifted): the shift in pixels of the second picture against the first with the
    highest correlation of their local contrasts, and the correlations there and without a shift. Greyscale 0..255.
    """
    fine = _aligned(_contrast(dark_HW), _contrast(bright_HW))
    if fine[1] >= CLEAR:
        return fine
    # in a very dark photograph noise is stronger than the scene: a light smoothing reduces it
    return _aligned(*(_contrast(gaussian_filter(x.astype(np.float64), 1.0)) for x in (dark_HW, bright_HW)))


def _aligned(a: np.ndarray, b: np.ndarray) -> tuple[tuple[int, int], float, float]:
    size = [next_fast_len(2 * n, real=True) for n in a.shape]
    surface = irfft2(np.conj(rfft2(a, size)) * rfft2(b, size), size)
    height, width = (max(1, n // 4) for n in a.shape)  # larger shifts leave too little overlap
    window = np.roll(surface, (height, width), (0, 1))[: 2 * height + 1, : 2 * width + 1]
    y, x = np.unravel_index(window.argmax(), window.shape)
    scale = max(1e-9, float(np.sqrt((a * a).sum() * (b * b).sum())))
    return (int(y) - height, int(x) - width), float(window[y, x]) / scale, float(surface[0, 0]) / scale


def _contrast(x_HW: np.ndarray) -> np.ndarray:
    """Log-brightness less its local mean, divided by its local deviation."""
    x = np.log1p(x_HW.astype(np.float64))
    x = x - uniform_filter(x, 31)
    deviation = np.sqrt(uniform_filter(x * x, 31))
    return x / (deviation + 0.1 * deviation.mean() + 1e-6)
