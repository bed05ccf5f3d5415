"""Interfile as STIR reads it: a header .hv of keys and the voxels beside it in .v.

STIR's images lie along the gantry and know no directions. For a patient on the back with the head
in first, which is how STIR takes in other formats too, its x runs to the patient's left, y to the
back and z to the FEET, so that its z is minus the z of LPS. STIR projects images that are centred
in the gantry: resample to the PET's matrix before reconstruction.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from multires_tf.data import geometry


def write(header: Path, array: np.ndarray, grid: geometry.Geometry, *, comment: str) -> None:
    """Writes `header` (.hv), and the voxels under the same name with the suffix .v.

    Args:
      header: file to write; the voxels are named in it without their folder.
      array: (z, y, x), written as float32.
      grid: of the array, along LPS (see `geometry.upright`).
      comment: one line for the reader: what the values are, with their unit.

    Raises:
      ValueError: the axes of the grid are not those of LPS.
    """
    if not np.array_equal(grid.matrix, np.eye(3)):
        raise ValueError("Interfile has no directions: resample to an upright grid before")
    voxels = header.with_suffix(".v")
    with open(voxels, "wb") as file:
        for plane in array[::-1]:  # from the head to the feet
            file.write(np.ascontiguousarray(plane, "<f4").tobytes())
    header.write_text(_header(voxels.name, grid, comment), encoding="ascii")


def _header(data_file: str, grid: geometry.Geometry, comment: str) -> str:
    x_mm, y_mm, z_mm = grid.position_mm((0, 0, grid.size[0] - 1))
    axes = zip("xyz", grid.size[::-1], grid.spacing_mm[::-1], (x_mm, y_mm, -z_mm), strict=True)
    matrix, offsets = [], []
    for number, (label, count, spacing_mm, first_mm) in enumerate(axes, start=1):
        matrix += [
            f"matrix axis label [{number}] := {label}",
            f"!matrix size [{number}] := {count}",
            f"scaling factor (mm/pixel) [{number}] := {spacing_mm:.9g}",
        ]
        offsets.append(f"first pixel offset (mm) [{number}] := {first_mm:.9g}")
    lines = [
        "!INTERFILE :=",
        f"; {comment}",
        "!imaging modality := PT",
        f"name of data file := {data_file}",
        "!GENERAL DATA :=",
        "patient orientation := head_in",
        "patient rotation := supine",
        "!GENERAL IMAGE DATA :=",
        "!type of data := PET",
        "imagedata byte order := LITTLEENDIAN",
        "!PET STUDY (General) :=",
        "!PET data type := Image",
        "process status := Reconstructed",
        "!number format := float",
        "!number of bytes per pixel := 4",
        "number of dimensions := 3",
        *matrix,
        *offsets,
        "number of time frames := 1",
        "image scaling factor [1] := 1",
        "data offset in bytes [1] := 0",
        "!END OF INTERFILE :=",
    ]
    return "\n".join(lines) + "\n"
