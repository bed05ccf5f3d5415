"""What is written of a subject lies where the MR lies, and says what the maps say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from multires_tf.data import attenuation, geometry
from multires_tf.ground import errors
from multires_tf.joints import outputs
from multires_tf.measure import tissues

C, S = np.cos(np.radians(20)), np.sin(np.radians(20))
GRIDS = {
    "plain": ((1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (2.0, 2.0, 2.0)),
    "anisotropic": ((1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (6.0, 1.5, 0.8)),
    "flipped": ((-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0), (3.0, 2.0, 2.0)),
    "head first": ((1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0), (3.0, 2.0, 2.0)),
    "sagittal": ((0, 0, 1.0, 1.0, 0, 0, 0, -1.0, 0), (4.0, 1.0, 1.0)),
    "oblique": ((1.0, 0, 0, 0, C, -S, 0, S, C), (3.0, 1.5, 2.0)),
    "doubly oblique": ((C, -S, 0, S * C, C * C, -S, S * S, S * C, C), (3.0, 1.5, 2.0)),
}
SIZE = (6, 8, 10)
SD_MAPS = ("aleatoric_sd_hu", "epistemic_sd_hu", "total_sd_hu")


def grid(name):
    direction, spacing_mm = GRIDS[name]
    return geometry.Geometry(SIZE, spacing_mm, (-31.5, 12.25, 640.0), direction)


def maps(seed=0):
    rng = np.random.default_rng(seed)
    ct_hu = rng.integers(-1024, 1500, SIZE).astype(np.int16)
    parts = rng.uniform(1, 60, (2, *SIZE)).astype(np.float32)
    total = np.sqrt((parts**2).sum(axis=0))
    return ct_hu, dict(zip(SD_MAPS, (*parts, total), strict=True))


def write(folder, name="plain", **extras):
    folder.mkdir()
    ct_hu, sd_hu = maps()
    extras = outputs.Extras(**extras)
    found = outputs.write(folder, ct_hu, sd_hu, grid(name), extras=extras, mr=None, air_hu=-1024)
    return ct_hu, sd_hu, found


@pytest.mark.parametrize("name", GRIDS)
def test_every_image_has_the_mr_s_geometry(tmp_path, name):
    ct_hu, sd_hu, _ = write(tmp_path / "out", name, mumap=outputs.Mumap(120))
    expected = {**sd_hu, "ct": ct_hu, "mumap": attenuation.mu_per_cm(ct_hu, 120)}
    expected["mumap_sd"] = attenuation.sd_per_cm(ct_hu, sd_hu["total_sd_hu"], 120)
    for file in (tmp_path / "out").glob("*.nii.gz"):
        image = sitk.ReadImage(str(file))
        ours = grid(name)
        assert image.GetSize() == ours.size[::-1]
        np.testing.assert_allclose(image.GetSpacing(), ours.spacing_mm[::-1], rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), ours.origin_mm, atol=1e-4)
        np.testing.assert_allclose(image.GetDirection(), ours.direction, atol=1e-6)
        array = expected.pop(file.name.removesuffix(".nii.gz"))
        assert np.array_equal(sitk.GetArrayFromImage(image), array)
    assert not expected


@pytest.mark.parametrize("name", GRIDS)
def test_the_interfile_lies_along_the_gantry_where_the_mr_lies(tmp_path, name):
    write(tmp_path / "out", name, mumap=outputs.Mumap(120))
    lines = (tmp_path / "out" / "mumap.hv").read_text().splitlines()
    key = dict(line.replace("!", "").split(" := ") for line in lines if " := " in line)
    size, spacing_mm, first_mm = (
        [float(key[f"{word} [{axis}]"]) for axis in (1, 2, 3)]
        for word in ("matrix size", "scaling factor (mm/pixel)", "first pixel offset (mm)")
    )
    voxels = np.fromfile(tmp_path / "out" / "mumap.v", "<f4")
    voxels = voxels.reshape([int(n) for n in size[::-1]])
    mu = sitk.ReadImage(str(tmp_path / "out" / "mumap.nii.gz"))
    checked = 0
    for z, y, x in np.ndindex(voxels.shape):
        left, back, down = np.array(first_mm) + np.array(spacing_mm) * (x, y, z)
        index = mu.TransformPhysicalPointToContinuousIndex((left, back, -down))
        if all(0 <= i <= n - 1 for i, n in zip(index, mu.GetSize(), strict=True)):
            value = mu.EvaluateAtContinuousIndex(index, sitk.sitkLinear)
            assert voxels[z, y, x] == pytest.approx(value, abs=2e-5)
            checked += 1
    assert checked > 100


def test_blurred_attenuation_is_that_of_both_maps(tmp_path):
    ct_hu, sd_hu, _ = write(tmp_path / "out", mumap=outputs.Mumap(100, 6.0))
    sharp = {
        "mumap": attenuation.mu_per_cm(ct_hu, 100),
        "mumap_sd": attenuation.sd_per_cm(ct_hu, sd_hu["total_sd_hu"], 100),
    }
    for name, array in sharp.items():
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz")))
        assert np.array_equal(found, attenuation.smooth(array, 6.0, (2.0, 2.0, 2.0)))
    assert "blurred to 6 mm" in (tmp_path / "out" / "mumap.hv").read_text()


def test_blurred_draws_take_the_place_of_the_epistemic_part(tmp_path):
    ct_hu, sd_hu = maps()
    extras = outputs.Extras(mumap=outputs.Mumap(120, 6.0))
    of_draws = np.full(SIZE, 3e-3, np.float32)
    for kept, own in ((sd_hu, "aleatoric_sd_hu"), ({"epistemic_sd_hu": of_draws}, None)):
        folder = tmp_path / str(own)
        folder.mkdir()
        outputs.write(
            folder,
            ct_hu,
            {**kept, SD_MAPS[-1]: sd_hu[SD_MAPS[-1]]},
            grid("plain"),
            extras=extras,
            mr=None,
            air_hu=-1024,
            blurred_mu_sd=of_draws,
        )
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mumap_sd.nii.gz")))
        noise = 0.0
        if own:
            sharp = attenuation.sd_per_cm(ct_hu, sd_hu[own], 120)
            noise = attenuation.smooth(sharp, 6.0, (2.0,) * 3)
        np.testing.assert_allclose(found**2, noise**2 + 9e-6, rtol=1e-5)


def test_names_are_all_that_is_ever_written(tmp_path):
    write(tmp_path / "out", mumap=outputs.Mumap(120))
    outputs.write_facts(tmp_path / "out", {"subject": "a"})
    found = {entry.name for entry in (tmp_path / "out").iterdir()}
    assert found == outputs.NAMES - {"dicom"}


def test_the_summary_by_hand():
    ct_hu = np.array([[[-1000, -1000, 0, 0, 0, 500]]], np.int16)
    total = np.array([[[5.0, 300.0, 10.0, 20.0, 120.0, 200.0]]], np.float32)
    masks = tissues.masks(ct_hu)
    means = {"air": 152.5, "soft": 50.0, "bone": 200.0}
    assert outputs.means_by_tissue(total, masks) == means
    shares = {"air": 0.5, "soft": 0.3333, "bone": 1.0}
    expected = {"above_hu": 100.0, "share": 0.5, "share_by_tissue": shares}
    assert outputs.uncertain(total, masks, 100.0) == expected
    alone = outputs.uncertain(total, {"air": masks["air"]}, 100.0)
    assert alone == {"above_hu": 100.0, "share": None, "share_by_tissue": {"air": 0.5}}


def test_a_network_without_uncertainties_has_no_deviation_of_attenuation(tmp_path):
    extras, (ct_hu, _) = outputs.Extras(mumap=outputs.Mumap(120)), maps()
    found = outputs.write(tmp_path, ct_hu, {}, grid("plain"), extras=extras, mr=None, air_hu=-1024)
    assert found == {"means_by_tissue_hu": {}}
    names = {"ct.nii.gz", "mumap.nii.gz", "mumap.hv", "mumap.v"}
    assert {entry.name for entry in tmp_path.iterdir()} == names


def test_a_voltage_without_a_map_is_refused():
    with pytest.raises(errors.UserError, match=r"--mumap 90: no map.*give one of 80"):
        outputs.Mumap(90)


def test_a_stranger_gets_a_line_and_a_usual_subject_none(tmp_path):
    facts = {"subject": "x", "novelty": {"score": 4.21, "limit": 2.5, "high": True}}
    facts["novelty"]["unusual"] = {"dark_share": 9.3, "roughness": -4.0}
    outputs.write_facts(tmp_path, facts)
    line = outputs.warning(outputs.read_facts(tmp_path))
    assert "x is unlike the training subjects (score 4.2, usual below 2.5" in line
    assert "dark_share +9.3 sd, roughness -4.0 sd" in line
    assert outputs.warning({**facts, "novelty": {**facts["novelty"], "high": False}}) is None
    assert outputs.warning({"subject": "x", "novelty": None}) is None
    (tmp_path / outputs.FACTS).write_text(json.dumps(facts)[:20])
    assert outputs.read_facts(tmp_path) == {}
