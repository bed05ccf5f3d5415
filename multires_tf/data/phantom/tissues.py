"""What each tissue looks like: Hounsfield units for CT; proton density, T1 and T2* for MR.

Sources:
    T1 at 1.5 T and 3 T: Stanisz et al., Magn Reson Med 54:507 (2005) (muscle, heart, liver, blood,
    grey and white matter, cord); de Bazelaire et al., Radiology 230:652 (2004) (fat, spleen,
    kidney, pancreas, lumbar marrow); Gold et al., AJR 183:343 (2004) (fatty marrow, cartilage,
    fluids); Du et al., J Magn Reson 207:304 (2010) (cortical bone: T1 0.22 s, T2* 0.35 ms).
    Proton density: water content relative to water (ICRU Report 46, 1992); fat by its CH2 protons;
    lung density and T2* (0.1 and 1.2 ms at full, 0.25 and 1.8 ms at relaxed lungs): Theilmann et
    al., J Magn Reson Imaging 30:527 (2009).
    CT: Schneider, Bortfeld and Schlegel, Phys Med Biol 45:459 (2000), ICRU 44/46 compositions.
    T2* of other tissues hardly matters at the echo times used: rounded clinical values. So are the
    T1 of skin, bowel and disc.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tissue:
    """One tissue.

    Attributes:
        hu: mean CT number.
        subject_sd_hu: spread of that mean between subjects.
        texture_sd_hu: spread inside one subject, spatially correlated.
        density: protons that give signal, water = 1.
        t1_ms: T1 at 1.5 T and at 3 T.
        t2_star_ms: T2* (a single value for both fields).
        texture_mr: spread of the MR signal inside one subject, as a share of it.
    """

    hu: float
    subject_sd_hu: float
    texture_sd_hu: float
    density: float
    t1_ms: tuple[float, float]
    t2_star_ms: float
    texture_mr: float = 0.05


TISSUES = {
    "air": Tissue(-1000, 0, 0, 0.0, (1000, 1000), 10),
    "skin": Tissue(25, 5, 10, 0.65, (900, 1000), 10),
    "fat": Tissue(-103, 4, 7, 0.90, (343, 382), 40, 0.04),
    "muscle": Tissue(54, 4, 8, 0.79, (1008, 1412), 28, 0.05),
    "lung": Tissue(-815, 20, 22, 0.20, (1150, 1250), 1.3, 0.15),
    "blood": Tissue(44, 3, 4, 0.83, (1441, 1932), 40),
    "heart muscle": Tissue(48, 3, 5, 0.79, (1030, 1471), 28),
    "liver": Tissue(58, 6, 5, 0.75, (576, 812), 25, 0.04),
    "spleen": Tissue(49, 3, 5, 0.79, (1057, 1328), 35),
    "kidney": Tissue(33, 3, 5, 0.81, (966, 1142), 40),
    "gland": Tissue(38, 4, 9, 0.75, (584, 725), 30),
    "urine or bile": Tissue(6, 3, 2, 1.00, (2850, 3620), 200, 0.02),
    "bowel": Tissue(32, 5, 14, 0.82, (800, 1000), 25, 0.12),
    "gas": Tissue(-985, 0, 10, 0.0, (1000, 1000), 10),
    "airway": Tissue(-1000, 0, 0, 0.0, (1000, 1000), 10),
    "cortical bone": Tissue(1280, 55, 70, 0.20, (220, 220), 0.35),
    "red spongy bone": Tissue(225, 25, 28, 0.68, (549, 586), 12, 0.08),
    "fatty spongy bone": Tissue(255, 30, 30, 0.78, (288, 365), 12, 0.08),
    "fatty marrow": Tissue(-45, 10, 12, 0.90, (288, 365), 25),
    "cartilage": Tissue(95, 8, 10, 0.70, (1060, 1240), 15),
    "disc": Tissue(85, 6, 8, 0.75, (1000, 1150), 20),
    "cerebrospinal fluid": Tissue(8, 2, 2, 1.00, (4000, 4200), 200, 0.02),
    "grey matter": Tissue(38, 1.5, 2, 0.82, (1124, 1820), 50, 0.02),
    "white matter": Tissue(29, 1.5, 2, 0.70, (884, 1084), 45, 0.02),
    "spinal cord": Tissue(36, 2, 2, 0.74, (745, 993), 40, 0.02),
    "tooth": Tissue(2000, 60, 60, 0.0, (1000, 1000), 0.3),
    "vitreous": Tissue(8, 2, 1, 1.00, (3500, 3900), 200, 0.02),
}
NAMES = tuple(TISSUES)
INDEX = {name: index for index, name in enumerate(NAMES)}


def mean_hu(rng: np.random.Generator) -> np.ndarray:
    """Returns one subject's mean HU per tissue, float32, in the order of `NAMES`."""
    spread = np.clip(rng.standard_normal(len(NAMES)), -2, 2)
    values = [t.hu + t.subject_sd_hu * s for t, s in zip(TISSUES.values(), spread, strict=True)]
    return np.asarray(values, np.float32)
