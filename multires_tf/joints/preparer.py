"""One subject of a cohort: from its images as they came to all that is prepared of it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from multires_tf.data import (
    checksums,
    cohort,
    geometry,
    masks,
    nyul,
    preparation,
    registration,
    scans,
    store,
)
from multires_tf.data.files import images
from multires_tf.ground import config as configs
from multires_tf.ground import errors, progress, runfolder, strict
from multires_tf.joints import intake
from multires_tf.measure import quality

_INPUTS = ("mr", "ct", "mask")
_ROLES = (*_INPUTS, "mr_body", "ct_body")


@dataclasses.dataclass(frozen=True)
class Preparer:
    """What all subjects of a run share.

    Attributes:
        folder: of the run.
        config: its keys spacing_mm, register and intensity matter here.
        series: number, description or UID of the DICOM series, where a folder has several.
    """

    folder: runfolder.RunFolder
    config: configs.Config
    series: str | None = None

    def absolute(self) -> Preparer:
        """The same for a process in another folder."""
        return dataclasses.replace(self, folder=runfolder.RunFolder(self.folder.root.absolute()))

    def cost_bytes(self, one: cohort.Subject) -> float:
        """Memory that checking or preparing a subject takes, by its headers."""
        try:
            headers = self._headers(one)
            return preparation.memory_bytes(*headers, spacing_mm=self.config.spacing_mm)
        except errors.UserError:
            return 0.0  # its turn will tell

    def check(self, one: cohort.Subject) -> dict[str, sitk.Image]:
        """Reads a subject's images and checks all that can be wrong with them.

        Raises:
            errors.UserError: as `images.read`; no CT, a CT not in HU, fields that do not overlap, a
                mask without a voxel in the CT.
        """
        _, ct_grid = self._headers(one)
        assert one.ct is not None
        loaded = {
            "mr": images.read(one.mr, series=self.series, modality="MR"),
            "ct": images.read(one.ct, series=self.series, modality="CT"),
        }
        images.check_ct_hu(loaded["ct"], one.ct)
        if one.mask is not None:
            loaded["mask"] = images.read(one.mask)
            if not scans.given_body(loaded["mask"], geometry.canonical(ct_grid)).any():
                reason = f"no voxel above 0 in the field of {one.ct.name}"
                raise errors.UserError(f"{one.mask}: {reason}; give a mask in the CT's frame")
        return loaded

    def find_landmarks(
        self, training: Sequence[cohort.Subject], *, faults: dict[str, str] | None = None
    ) -> bool:
        """Writes the landmarks of the training subjects' MR, if the config asks for them.

        Those that are there stay: a run that goes on, or NiftyNet's own. Only what a prepare that
        was cut short has made of other subjects or images, or otherwise, is made anew.

        Args:
            faults: gets {subject: what is wrong with its MR} instead of an error, where given.

        Returns:
            Whether they were written.

        Raises:
            errors.UserError: an MR shows no body.
        """
        settings, path = self.config.intensity, self.folder.landmarks
        if settings.mr_landmarks == "none" or (path.exists() and self.folder.config.exists()):
            return False
        made = {
            "training": {one.subject: checksums.of_image(one.mr) for one in training},
            "intensity": strict.plain(settings),
            "series": checksums.of_series(self.series),
        }
        note = self.folder.landmarks_made
        if path.exists():
            known = runfolder.read_json(note, "prepare") if note.exists() else {}
            if known.get("landmarks") != nyul.read(path).tolist() or known.get("made") == made:
                return False
        found = []
        for one in progress.bar(training, words="landmarks"):
            try:
                image = images.read(one.mr, series=self.series, modality="MR")
                found.append(intake.percentiles(self.config, image, one.mr))
            except errors.UserError as error:
                if faults is None:
                    raise
                faults[one.subject] = str(error)
        if not found:
            reason = "no training subject's MR can be used for landmarks"
            raise errors.UserError(f"{path}: {reason}; name others for training")
        standard = nyul.landmarks(found)
        # The note first: landmarks without one are a person's.
        runfolder.write_json(note, {"landmarks": standard.tolist(), "made": made})
        nyul.write(path, standard)
        return True

    def prepare(self, one: cohort.Subject) -> None:
        """Writes a subject's stores, its registration and its picture, unless they are there.

        Raises:
            errors.UserError: as `check`; no body, or none in both fields.
        """
        if self.is_done(one):  # by a worker of a cluster that was given up too early
            return
        inputs = _checksums(one)  # before they are read: what changes meanwhile is prepared again
        loaded = self.check(one)
        try:
            mr, ct, found = self._registered(one, loaded)
            air_hu = self.config.intensity.ct_window_hu[0]
            ct_hu, mask = preparation.prepare_ct(ct, mr, air_hu=air_hu)
            before_hu = None
            if found.transform is not None:
                unmoved = dataclasses.replace(ct, transform=None)
                before_hu = unmoved.hu_on(mr.grid, air_hu=air_hu)
        except errors.UserError as error:
            raise errors.UserError(f"{one.mr}: {error}") from None
        # Until the new one is there its place is empty: an old one would pass for the stores'.
        runfolder.remove(self.picture(one))
        self._write(one, inputs, mr, ct, ct_hu, mask, found)
        body, field = mask == masks.BODY, mask != masks.OUTSIDE
        prepared = quality.Prepared(mr.unit, ct_hu, mr.body, body, field, before_hu)
        picture = quality.prepared_subject(
            prepared, spacing_mm=mr.grid.spacing_mm, title=one.subject
        )
        with runfolder.replacing(self.picture(one)) as path:
            path.write_bytes(picture)

    def is_done(self, one: cohort.Subject) -> bool:
        """Tells whether all is there, and made like this from the images as they are now."""
        others = (self.folder.registration(one.subject), self.picture(one))
        if not all(path.exists() for path in others) or not self.has_stores(one):
            return False
        attributes = store.open_pyramid(self.folder.volume(one.subject, _ROLES[0])).attributes
        made, recipe = (attributes.get("inputs"), attributes.get("recipe")), self._recipe()
        # What a network was trained on stays, though this version would prepare it otherwise.
        if self.folder.checkpoints.exists() and made[1]:
            recipe["method"] = made[1].get("method")
        try:
            return made == (_checksums(one), recipe)
        except errors.UserError:
            return False  # its turn will tell

    def has_stores(self, one: cohort.Subject) -> bool:
        """Tells whether all stores of a subject are there, of whatever images."""
        return all(store.is_complete(self.folder.volume(one.subject, role)) for role in _ROLES)

    def picture(self, one: cohort.Subject) -> pathlib.Path:
        """By which a person checks a subject."""
        return self.folder.qa / f"{one.subject}.png"

    def record(self, one: cohort.Subject) -> dict[str, Any] | None:
        """What came of a subject's registration; None where it is not prepared."""
        path = self.folder.registration(one.subject)
        return runfolder.read_json(path, "prepare") if path.exists() else None

    def _headers(self, one: cohort.Subject) -> tuple[geometry.Geometry, geometry.Geometry]:
        """Checks all that headers tell: most mistakes in no time."""
        if one.ct is None:
            raise errors.UserError(f"{one.mr.parent}: subject {one.subject} has no ct; add it")
        mr = images.check_header(one.mr, series=self.series, modality="MR")
        ct = images.check_header(one.ct, series=self.series, modality="CT")
        images.check_overlap(mr, ct, mr_path=one.mr, ct_path=one.ct)
        return mr, ct

    def _registered(
        self, one: cohort.Subject, loaded: dict[str, sitk.Image]
    ) -> tuple[preparation.PreparedMr, scans.Ct, registration.Registration]:
        """The prepared MR, and the CT with the way to it."""
        settings = self.config.intensity
        mr = intake.mr(self.config, loaded["mr"])
        ct = scans.ct_in_its_own_frame(
            loaded["ct"],
            body=loaded.get("mask"),
            padding=settings.ct_padding,
            metal=settings.ct_metal,
        )
        with progress.bar(words=f"register {one.subject}", unit="step") as bar:
            ct, found = preparation.register(mr, ct, kind=self.config.register, tick=bar.update)
        spacing_mm = self.config.spacing_mm or preparation.canonical_spacing_mm(loaded["ct"])
        prepared = intake.prepared(self.folder, self.config, mr, spacing_mm=spacing_mm, ct=ct)
        return prepared, ct, found

    def _write(
        self,
        one: cohort.Subject,
        inputs: dict[str, str],
        mr: preparation.PreparedMr,
        ct: scans.Ct,
        ct_hu: np.ndarray,
        mask: np.ndarray,
        found: registration.Registration,
    ) -> None:
        """Writes the folder of a subject's volumes, whole or not at all."""
        attributes = {**mr.attributes(), "inputs": inputs, "recipe": self._recipe()}
        ct_body = ct.on(mr.grid, ct.body, share=0.5)
        stores: dict[str, tuple[np.ndarray, float, Literal["mean", "min"]]] = {
            "mr": (mr.unit, 0.0, "mean"),
            "ct": (ct_hu, self.config.intensity.ct_window_hu[0], "mean"),
            "mask": (mask, 0, "min"),
            "mr_body": (mr.body.astype(np.uint8), 0, "min"),
            "ct_body": (ct_body.astype(np.uint8), 0, "min"),
        }
        with runfolder.replacing(self.folder.volumes / one.subject) as temporary:
            for role, (array, fill, reduce) in stores.items():
                path = temporary / self.folder.volume(one.subject, role).name
                store.write_pyramid(path, array, fill=fill, reduce=reduce, attributes=attributes)
            found.save(temporary)

    def _recipe(self) -> dict[str, Any]:
        """What the stores depend on besides the images, as JSON keeps it."""
        return {
            **intake.recipe(self.folder),
            "series": checksums.of_series(self.series),
            "spacing_mm": strict.plain(self.config.spacing_mm),
            "register": self.config.register,
            "intensity": strict.plain(self.config.intensity),
        }


def _checksums(one: cohort.Subject) -> dict[str, str]:
    """Checksums of the input files: another image is another preparation."""
    paths = {role: getattr(one, role) for role in _INPUTS}
    return {
        role: checksums.of_image(path) for role, path in paths.items() if path and path.exists()
    }
