"""Who the subject is: sex, stature, weight and the looks that follow, drawn from (seed, index).

The anatomy is written in units of a body 1750 units tall (a 1750 mm man), origin between the feet,
x to the left, y to the back, z to the head. `Body.unit_mm` scales it to the subject.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# One independent stream of random numbers for each purpose, so that changing one leaves the others.
STREAMS = ("body", "warp", "organs", "folds", "values", "texture", "bowel", "ct", "mr", "place")


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Returns the generator of subject `index` of cohort `seed` for one purpose."""
    return np.random.default_rng([seed, index, STREAMS.index(name)])


@dataclasses.dataclass(frozen=True)
class Body:
    """A subject's measures; lengths in units of the 1750-unit body unless named otherwise.

    Attributes:
        sex: "female" or "male".
        height_mm, weight_kg, age_years: of the subject.
        fat: thickness of the subcutaneous fat of the trunk.
        belly: how far visceral fat pushes the abdominal wall forward.
        breast: size of the breasts, 0 for men.
        shoulder, hip, limb: factors on the breadths of shoulders and hips and the girth of limbs.
        breath: how far the diaphragm stands below its mean.
        bone: factor on the thickness of cortical bone.
        knee: height at which the field of view ends.
    """

    sex: str
    height_mm: float
    weight_kg: float
    age_years: float
    fat: float
    belly: float
    breast: float
    shoulder: float
    hip: float
    limb: float
    breath: float
    bone: float
    knee: float

    @property
    def unit_mm(self) -> float:
        """Millimetres per unit of the anatomy."""
        return self.height_mm / 1750.0

    @property
    def bmi(self) -> float:
        """Body mass index, kg/m²."""
        return self.weight_kg / (self.height_mm / 1000) ** 2


def draw_body(seed: int, index: int) -> Body:
    """Draws the measures of one subject."""
    rng = stream(seed, index, "body")
    female = bool(rng.integers(0, 2))
    height = float(np.clip(rng.normal(1650 if female else 1775, 60), 1500, 1960))
    bmi = float(np.clip(rng.normal(25.0, 3.8), 18.5, 34.0))
    excess = bmi - 22.0
    lean = float(rng.normal(0, 0.03))
    return Body(
        sex="female" if female else "male",
        height_mm=height,
        weight_kg=bmi * (height / 1000) ** 2,
        age_years=float(rng.uniform(22, 80)),
        fat=max(4.0, (13.0 if female else 8.0) + 1.35 * excess + float(rng.normal(0, 1.5))),
        belly=max(0.0, (1.8 if female else 3.0) * excess + float(rng.normal(0, 4))),
        breast=max(0.5, 1 + 0.06 * excess + float(rng.normal(0, 0.15))) if female else 0.0,
        shoulder=(0.90 if female else 1.0) + float(rng.normal(0, 0.02)),
        hip=(1.03 if female else 0.98) + float(rng.normal(0, 0.02)),
        limb=(0.92 if female else 1.0) + 0.006 * excess + lean,
        breath=float(rng.normal(0, 8)),
        bone=float(np.clip(rng.normal(0.95 if female else 1.05, 0.10), 0.75, 1.3)),
        knee=float(rng.uniform(430, 560)),
    )
