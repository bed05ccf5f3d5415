"""Smooth fields on a raster: cubic B-splines in three dimensions, fitted by least squares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import interpolate


@dataclasses.dataclass(frozen=True)
class Spline:
    """The splines on one raster.

    Attributes:
      bases: for z, y, x the weights float32 (voxels, coefficients).
    """

    bases: tuple[np.ndarray, ...]

    @classmethod
    def over(cls, size: Sequence[int], spacing_mm: Sequence[float], knots_mm: float) -> Spline:
        """Returns splines whose knots lie at most `knots_mm` apart, evenly over the raster."""
        return cls(
            tuple(_basis(n, n * mm / knots_mm) for n, mm in zip(size, spacing_mm, strict=True))
        )

    def rows(self, places: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the weights (places, coefficients) of voxels as `np.nonzero` gives them."""
        z, y, x = (basis[index] for basis, index in zip(self.bases, places, strict=True))
        return np.einsum("na,nb,nc->nabc", z, y, x).reshape(len(z), -1)

    def field(self, coefficients: np.ndarray) -> np.ndarray:
        """Returns the field float32 (z, y, x)."""
        value = coefficients.reshape([basis.shape[1] for basis in self.bases]).astype(np.float32)
        for axis, basis in enumerate(self.bases):
            value = np.moveaxis(np.tensordot(basis, value, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(value)

    def roughness(self) -> np.ndarray:
        """Returns the matrix of the squared differences between neighbouring coefficients."""
        counts = [basis.shape[1] for basis in self.bases]
        total = np.zeros((int(np.prod(counts)),) * 2)
        for axis in range(3):
            factors = [np.eye(count) for count in counts]
            step = np.diff(factors[axis], axis=0)
            factors[axis] = step.T @ step
            total += np.kron(np.kron(factors[0], factors[1]), factors[2])
        return total


def _basis(count: int, stretches: float) -> np.ndarray:
    """Returns the weights float32 (voxels, coefficients) along one axis."""
    knots = np.arange(-3, max(1, int(np.ceil(stretches))) + 4)
    places = (np.arange(count) + 0.5) / count * knots[-4]
    return interpolate.BSpline.design_matrix(places, knots.astype(float), 3).toarray().astype("f4")


def fit(
    rows: np.ndarray, values: np.ndarray, weights: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """Returns the coefficients of the least weighted sum of squares plus penalty.

    Args:
      rows: (voxels, coefficients).
      values, weights: of the voxels.
      penalty: (coefficients, coefficients), symmetric.
    """
    weighted = (rows * weights[:, None].astype(np.float32)).T
    # Of a constant the penalty says nothing; without a voxel it is zero.
    normal = weighted @ rows + penalty + 1e-4 * np.eye(len(penalty))
    return np.linalg.solve(normal, weighted @ values)
