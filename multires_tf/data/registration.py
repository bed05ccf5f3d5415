"""Registration of a CT to its MR: rigid, then coarsely elastic, then by finer cubic B-splines.

The stages of the paper's preparation. The similarity is Mattes' mutual information; the paper's
normalised one is not in SimpleITK. The stages compose, so that the CT is resampled once. Every
stage has to prove itself, or the transform before it stays and a person is told: the mutual
information must not fall, nor the overlap of the bodies or of the fields, and space must not fold.

One thread and fixed samples: the same pair gives the same bytes on one machine.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from multires_tf.data import alignment
from multires_tf.ground import runfolder

Kind = Literal["none", "rigid", "deformable"]
Search = Callable[
    [alignment.Pair, sitk.CompositeTransform, Callable[[], None]],
    tuple[sitk.Transform, list[float]],
]
# Distance of control points: a handful across a trunk ("very low degree of freedom"), then finer.
_COARSE_MM, _FINE_MM = 120.0, 72.0
# Coefficients below 1 / 2.48 of the distance of control points cannot fold space (Choi and Lee,
# Graphical Models 2000); a margin keeps volumes from vanishing.
_LARGEST_SHARE = 0.8 / 2.48
# Where the stages before have left nothing to gain, a stage finds a little less: no alarm.
_NO_GAIN = "no gain"
_NO_GAIN_SHARE = 0.02
# In every flag of a registration, and in no other.
REFUSED = " registration refused: "
# What a stage may cost at the contour.
_DICE_TOLERANCE = 5e-3
_LEAST_OVERLAP_SHARE = 0.9
# Of the Jacobian determinant: tissue squeezed to less than a fifth is not anatomy.
_LEAST_JACOBIAN = 0.2


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a registration.

    Attributes:
      name: rigid, coarse or fine.
      alignment: of the pair under all stages kept before and this one.
      trace: mutual information of the samples, evaluation by evaluation.
      refused: why it was not kept; "" if it was.
    """

    name: str
    alignment: alignment.Alignment
    trace: tuple[float, ...]
    refused: str


@dataclasses.dataclass(frozen=True)
class Registration:
    """What came of it.

    Attributes:
      transform: from points of the MR's frame to the CT's, millimetres; None if no stage was kept.
      before: the pair as it came.
      stages: in their order, refused ones included.
    """

    transform: sitk.CompositeTransform | None
    before: alignment.Alignment
    stages: tuple[Stage, ...]

    @property
    def after(self) -> alignment.Alignment:
        """The alignment under `transform`."""
        kept = [stage.alignment for stage in self.stages if not stage.refused]
        return kept[-1] if kept else self.before

    @property
    def flags(self) -> list[str]:
        """Why a person should look at this pair; empty if all went well."""
        return [
            f"{stage.name}{REFUSED}{stage.refused}"
            for stage in self.stages
            if stage.refused not in ("", _NO_GAIN)
        ]

    def record(self) -> dict[str, Any]:
        """Returns everything but the transform as plain values, for JSON."""
        stages = [
            {**dataclasses.asdict(stage), "trace": list(stage.trace)} for stage in self.stages
        ]
        return {
            "before": dataclasses.asdict(self.before),
            "after": dataclasses.asdict(self.after),
            "stages": stages,
            "flags": self.flags,
        }

    def save(self, folder: pathlib.Path) -> None:
        """Writes `registration.json` and, if a stage was kept, `registration.tfm` (ITK)."""
        if self.transform is not None:
            sitk.WriteTransform(self.transform, str(folder / "registration.tfm"))
        runfolder.write_json(folder / "registration.json", self.record())


def register(
    mr: alignment.Side,
    ct: alignment.Side,
    *,
    kind: Kind,
    tick: Callable[[], None] = lambda: None,
) -> Registration:
    """Registers a CT to its MR.

    Args:
      mr: the fixed side.
      ct: the moving side.
      kind: none measures the pair as it is; rigid stops after the first stage.
      tick: called at each evaluation of the metric.
    """
    pair = alignment.Pair.of(mr, ct)
    kept = sitk.CompositeTransform(sitk.TranslationTransform(3))
    before = last = pair.alignment(kept)
    stages = []
    for name, search in _searches(kind).items():
        try:
            found, trace = search(pair, kept, tick)
        except RuntimeError:  # ITK gives up where too few samples are in both images
            stages.append(Stage(name, last, (), "MR and CT hardly overlap"))
            continue
        candidate = sitk.CompositeTransform(kept)
        candidate.AddTransform(found)
        now = pair.alignment(candidate)
        refused = _refusal(before, last, now)
        stages.append(Stage(name, now, tuple(trace), refused))
        if not refused:
            kept, last = candidate, now
    kept.FlattenTransform()
    moved = any(not stage.refused for stage in stages)
    return Registration(kept if moved else None, before, tuple(stages))


def _searches(kind: Kind) -> dict[str, Search]:
    if kind == "none":
        return {}
    if kind == "rigid":
        return {"rigid": _rigid}
    return {
        "rigid": _rigid,
        "coarse": _elastic(_COARSE_MM, [16.0, 8.0], samples=60_000, evaluations=50),
        "fine": _elastic(_FINE_MM, [8.0], samples=150_000, evaluations=20),
    }


def _refusal(came: alignment.Alignment, last: alignment.Alignment, now: alignment.Alignment) -> str:
    """Says why a stage cannot be kept; "" if it can.

    Args:
      came: the pair as it came.
      last: under the last stage that was kept.
      now: under this stage as well.
    """
    gained, had = now.mutual_information, last.mutual_information
    if gained is None or now.overlap < _LEAST_OVERLAP_SHARE * came.overlap:
        return "MR and CT would overlap less"
    if now.jacobian[0] < _LEAST_JACOBIAN:
        return f"the deformation would fold tissue (Jacobian {now.jacobian[0]:.2f})"
    if had is not None and gained < (1 - _NO_GAIN_SHARE) * had:
        return "the mutual information fell"
    if had is not None and gained < had:
        return _NO_GAIN
    if now.dice < came.dice - _DICE_TOLERANCE:
        return f"the bodies overlap less (Dice {now.dice:.3f}, was {came.dice:.3f})"
    return ""


def _rigid(
    pair: alignment.Pair, kept: sitk.CompositeTransform, tick: Callable[[], None]
) -> tuple[sitk.Transform, list[float]]:
    """Six parameters by gradient descent, from coarse to fine."""
    start = sitk.Euler3DTransform()
    centre = ndimage.center_of_mass(pair.mr_body)[::-1]
    start.SetCenter(pair.grid.position_mm(centre).tolist())
    method = pair.method([16.0, 8.0, 4.0], samples=30_000)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=0.05, numberOfIterations=80, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetMovingInitialTransform(kept)
    method.SetInitialTransform(start, inPlace=True)
    trace = _watched(method, tick)
    method.Execute(pair.fixed, pair.moving)
    return start, trace


def _elastic(
    spacing_mm: float, voxels_mm: Sequence[float], *, samples: int, evaluations: int
) -> Search:
    """Returns the search for a cubic B-spline with control points so far apart.

    It needs many samples for its many parameters, or it follows those instead of the body.
    """

    def search(
        pair: alignment.Pair, kept: sitk.CompositeTransform, tick: Callable[[], None]
    ) -> tuple[sitk.Transform, list[float]]:
        domain = pair.domain()
        extent_mm = np.asarray(domain.GetSize()) * np.asarray(domain.GetSpacing())
        mesh = np.maximum(1, np.round(extent_mm / spacing_mm)).astype(int)
        start = sitk.BSplineTransformInitializer(domain, mesh.tolist(), order=3)
        bound_mm = _LARGEST_SHARE * float((extent_mm / mesh).min())
        method = pair.method(voxels_mm, samples=samples)
        method.SetOptimizerAsLBFGSB(
            gradientConvergenceTolerance=1e-6,
            numberOfIterations=evaluations,
            maximumNumberOfFunctionEvaluations=evaluations,
            lowerBound=-bound_mm,
            upperBound=bound_mm,
        )
        method.SetInitialTransform(start, inPlace=True)
        # The metric cannot differentiate through a second B-spline: the CT is moved by the stages
        # before, for this search only.
        moving, field = pair.moved(kept, domain)
        method.SetMetricMovingMask(field)
        trace = _watched(method, tick)
        method.Execute(pair.fixed, moving)
        return start, trace

    return search


def _watched(method: sitk.ImageRegistrationMethod, tick: Callable[[], None]) -> list[float]:
    """Returns a list that fills while the method runs."""
    trace: list[float] = []

    def note() -> None:
        trace.append(-method.GetMetricValue())
        tick()

    method.AddCommand(sitk.sitkIterationEvent, note)
    return trace
