"""An MR and a CT as they came, each in its own frame, and what is to be seen in them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import SimpleITK as sitk

from multires_tf.data import geometry, intensity, masks, resampling
from multires_tf.ground import errors


@dataclasses.dataclass(frozen=True)
class Mr:
    """An MR as it came, and what is to be seen in it.

    Attributes:
      image: in canonical orientation; zero means no signal.
      source: grid of the image as it came.
      floor: what that has in the place of zero.
      zero: bool (z, y, x), zeros that reach the border, where those mean that the field had ended.
      body: bool, same shape.
    """

    image: sitk.Image
    source: geometry.Geometry
    floor: float
    zero: np.ndarray
    body: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ct:
    """A CT and how it lies to its MR.

    Attributes:
      image: in canonical orientation and HU.
      body: bool (z, y, x), the body on the image's grid, the table left out.
      measured: bool, same shape, where the values are a measurement.
      transform: from points of the MR's frame to the CT's, millimetres; None where they are one.
    """

    image: sitk.Image
    body: np.ndarray
    measured: np.ndarray
    transform: sitk.Transform | None = None

    @property
    def grid(self) -> geometry.Geometry:
        return geometry.of_image(self.image)

    def hu_on(self, grid: geometry.Geometry, *, air_hu: float) -> np.ndarray:
        """Returns this CT on a grid in the MR's frame, float32; air where nothing was measured."""
        ct_hu = np.where(self.measured, sitk.GetArrayViewFromImage(self.image), air_hu)
        image = geometry.to_image(np.maximum(ct_hu, air_hu).astype(np.float32), self.grid)
        return resampling.resample(image, grid, fill=air_hu, transform=self.transform)

    def on(self, grid: geometry.Geometry, mask: np.ndarray, *, share: float) -> np.ndarray:
        """Returns a mask of this CT on a grid in the MR's frame."""
        return resampling.resample_mask(
            mask, self.grid, grid, share=share, transform=self.transform
        )


def mr_in_its_own_frame(image: sitk.Image, *, zero_is_outside: bool) -> Mr:
    """Finds the body in an MR, and where its field had ended.

    Args:
      image: 3-D, any orientation and unit.
      zero_is_outside: exact zeros that reach the border mark where the field ended.

    Raises:
      UserError: the image shows no body.
    """
    source = geometry.of_image(image)
    image, floor = intensity.above_zero(geometry.canonical_image(image))
    mr = sitk.GetArrayViewFromImage(image)
    zero = masks.zero_border(mr) if zero_is_outside else np.zeros(mr.shape, bool)
    if zero.all():
        raise errors.UserError("the MR is zero everywhere; give an image with a body")
    body = masks.mr_body(mr, geometry.of_image(image).spacing_mm, outside=zero)
    if not body.any():
        raise errors.UserError("the MR shows no body; give a scan, not a mask or a map")
    return Mr(image, source, floor, zero, body)


def ct_in_its_own_frame(
    image: sitk.Image,
    *,
    body: sitk.Image | None = None,
    padding: Literal["air", "keep"] = "air",
    metal: Literal["air", "keep"] = "keep",
) -> Ct:
    """Finds the body in a CT, or takes a mask of it.

    Args:
      image: 3-D in HU, any orientation.
      body: 3-D, any grid in the CT's frame; above 0 is body. None finds it.
      padding, metal: what becomes of values that are no measurement, see `intensity.measured`.
    """
    image = geometry.canonical_image(image)
    own, ct_hu = geometry.of_image(image), sitk.GetArrayViewFromImage(image)
    measured = intensity.measured(ct_hu, padding=padding, metal=metal)
    if body is None:
        return Ct(image, masks.ct_body(ct_hu, own.spacing_mm), measured)
    return Ct(image, given_body(body, own), measured)


def given_body(body: sitk.Image, grid: geometry.Geometry) -> np.ndarray:
    """Returns a given mask, above 0 in an image of any grid, on a CT's grid; bool (z, y, x)."""
    image = geometry.canonical_image(body)
    mask = sitk.GetArrayViewFromImage(image) > 0
    return resampling.resample_mask(mask, geometry.of_image(image), grid, share=0.5)
