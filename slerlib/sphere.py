"""Mathematics on the unit hypersphere, used by losses, router, analysis and lessons.

Points are rows of `(..., d)` tensors. Angles are degrees unless a name says otherwise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def at_least_float32(x: Tensor) -> Tensor:
    """float32 and float64 stay; float16 and bfloat16 become float32, since routes need more than 8 or 11 bits."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def normalise(x: Tensor) -> Tensor:
    """Project `(..., d)` vectors onto the unit sphere."""
    return F.normalize(x, dim=-1, eps=1e-12)


def angle(x: Tensor, y: Tensor) -> Tensor:
    """Geodesic distance in degrees (0..180) between unit vectors `(..., d)`.

    2 atan2(|x - y|, |x + y|) instead of acos(x . y), which loses half the digits near 0 and 180 degrees (Kahan).
    """
    return torch.rad2deg(2 * torch.atan2((x - y).norm(dim=-1), (x + y).norm(dim=-1)))


def slerp(x: Tensor, y: Tensor, t: Tensor | float) -> Tensor:
    """Point at fraction `t` of the shortest great-circle arc from x to y, unit vectors `(..., d)` (Shoemake 1985).

    Raises ValueError for antipodal points, between which every great circle is equally short.
    """
    omega = torch.deg2rad(angle(x, y)).unsqueeze(-1)
    if bool((omega > math.pi - 1e-4).any()):
        raise ValueError(
            "slerp needs two points that are not antipodal: every great circle through them is equally short."
        )
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    if t.ndim:
        t = t.unsqueeze(-1)
    sine = torch.sin(omega)
    small = sine < 1e-6  # nearly equal points: the arc is a straight line
    safe = torch.where(small, torch.ones_like(sine), sine)
    a = torch.where(small, 1 - t, torch.sin((1 - t) * omega) / safe)
    b = torch.where(small, t * torch.ones_like(sine), torch.sin(t * omega) / safe)
    return normalise(a * x + b * y)


def simplex(k: int, dim: int | None = None) -> Tensor:
    """K unit vectors with all pairwise cosines -1/(K-1): rows of a `(K, dim)` float64 tensor, dim >= K - 1.

    Closed form of Kasarla et al. 2022 (Maximum class separation as inductive bias in one matrix).
    """
    if k < 1 or (dim is not None and dim < k - 1):
        raise ValueError(f"A simplex of K points needs K >= 1 and dim >= K - 1; got K = {k}, dim = {dim}.")
    points = torch.ones(1, 1, dtype=torch.float64) if k == 1 else torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    for n in range(2, k):  # from n points in n-1 dimensions to n+1 points in n
        top = torch.cat([torch.ones(1, 1, dtype=torch.float64), torch.full((n, 1), -1.0 / n, dtype=torch.float64)])
        rest = torch.cat([torch.zeros(1, n - 1, dtype=torch.float64), math.sqrt(1 - 1 / n**2) * points])
        points = torch.cat([top, rest], dim=1)
    return F.pad(points, (0, (dim or points.shape[1]) - points.shape[1]))


def widest(points: Tensor, n: int) -> Tensor:
    """Orthonormal directions, 2 or 3, with most of the squared length of `(K, d)` points: `(min(n, K), d)`.

    The corners of a simplex lie equally in all directions, so rounding errors would pick the plane. Theirs are
    directions in which the corners lie evenly on a circle; a third one lifts every other corner [ours].
    """
    k = len(points)
    even = simplex(k) @ simplex(k).T
    if k <= n or (points.double() @ points.double().T).cpu().sub(even).abs().max() > 1e-3:
        return torch.linalg.svd(points, full_matrices=False)[2][:n]
    turn = 2 * math.pi * torch.arange(k, dtype=points.dtype, device=points.device) / k
    waves = torch.stack([turn.cos(), turn.sin(), (k // 2 * turn).cos()])[:n]
    axes, scale = torch.linalg.qr((waves @ points).T)  # at right angles but for the rounding of the points
    return (axes * scale.diagonal().sign()).T


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """log mean exp(-t |x_i - x_j|^2) over pairs i < j of `(n, d)` unit vectors (Wang & Isola 2020); low is even.

    K points on a simplex reach -2 t K / (K - 1).
    """
    return torch.pdist(x).pow(2).mul(-t).exp().mean().log()


def centroids(z: Tensor, labels: Tensor, k: int) -> Tensor:
    """Normalised mean of each class: `(n, d)` unit vectors, `(n,)` labels 0..k-1 -> `(k, d)`; zeros without points."""
    one_hot = F.one_hot(labels, k).to(z.dtype)
    return normalise(one_hot.T @ z)


def middles(points: Tensor, members: Tensor, linear: bool = False) -> Tensor:
    """Normalised sum of the member points of each row: `(K, d)` points, `(n, K)` bool -> `(n, d)`.

    The geodesic mean of two points, and one point itself; zeros where the members cancel out, as the two antipodes of
    K = 2 do. `linear`: the mean, without the sphere.
    """
    total = members.to(points) @ points
    return total / members.sum(dim=1, keepdim=True).clamp(min=1) if linear else normalise(total)


def to_angles(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """`(..., 3)` unit vectors -> colatitude 0..pi (from the +z pole) and longitude -pi..pi, radians."""
    return torch.atan2(xyz[..., :2].norm(dim=-1), xyz[..., 2]), torch.atan2(xyz[..., 1], xyz[..., 0])


def to_xyz(colatitude: Tensor, longitude: Tensor) -> Tensor:
    """Inverse of `to_angles`; angles may come unwrapped, as from UMAP's haversine output. -> `(..., 3)`."""
    sine = torch.sin(colatitude)
    return torch.stack([sine * torch.cos(longitude), sine * torch.sin(longitude), torch.cos(colatitude)], dim=-1)
