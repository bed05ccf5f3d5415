"""What names a patient in DICOM headers is nowhere in what is written and said."""

import concurrent.futures
import pathlib
import threading

import dicom_files
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from test_bad_subjects import CT_HU, MR

from multires_tf import cli
from multires_tf.data.files import dicom_headers

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "multires_unc.yaml"
SECRETS = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "ID-4711-0815",
    "PatientBirthDate": "19640812",
    "OtherPatientIDs": "KV-A123456780",
    "ReferringPhysicianName": "Quacksalber^Otto",
    "InstitutionName": "Klinikum Musterstadt",
    "AccessionNumber": "ACC-99887766",
}


def write_series(folder, volume, modality, uids, **fields):
    for k, pixels in enumerate(volume):
        dicom_files.write_slice(
            folder / f"{modality}{k:02d}.dcm",
            pixels,
            (0, 0, 4.0 * k),
            uid=uids["series"],
            Modality=modality,
            PixelSpacing=[4.0, 4.0],
            RescaleSlope="1",
            RescaleIntercept="0",
            StudyInstanceUID=uids["study"],
            FrameOfReferenceUID=uids["frame"],
            **SECRETS,
            **fields,
        )


@pytest.mark.parametrize("refused", [False, True])
def test_nothing_of_the_patient_is_written_or_said(tmp_path, capsys, refused):
    uids = [{key: generate_uid() for key in ("series", "study", "frame")} for _ in range(3)]
    for name in ("p1", "p2"):
        write_series(tmp_path / "data" / name / "mr", MR, "MR", uids[0])
        write_series(tmp_path / "data" / name / "ct", CT_HU, "CT", uids[1])
    if refused:
        write_series(tmp_path / "data" / "p2" / "mr" / "other", MR, "MR", uids[2])
        (tmp_path / "data" / "p2" / "ct" / "CT05.dcm").unlink()
    flags = ["--keep_going", "--series", uids[0]["series"]]
    arguments = ["multires-tf", "prepare", "--workdir", str(tmp_path / "run"), "--config"]
    arguments += [str(CONFIG), "--data", str(tmp_path / "data"), "--set", "register=none", *flags]
    assert cli._run(cli._parse(arguments)) == (1 if refused else 0)
    shown = capsys.readouterr()
    said = (shown.out + shown.err).encode()
    written = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert len(written) > 40
    secrets = [*SECRETS.values(), "Mustermann", "Erika", *(u for one in uids for u in one.values())]
    for secret in secrets:
        for form in (secret.encode(), secret.encode("utf-16-le")):
            assert form not in said
            assert not [path for path, content in written.items() if form in content]
    assert np.all([secret not in str(path) for path in written for secret in secrets])


def test_no_thread_has_values_checked_while_another_ends(tmp_path, monkeypatch):
    """The first to begin ends while the second reads: pydicom would quote the second's values."""
    for name in ("first", "second"):
        place = {"uid": generate_uid(), "PatientName": SECRETS["PatientName"]}
        dicom_files.write_slice(tmp_path / name / "1.dcm", MR[0], (0, 0, 0), **place)
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    turns = {"first": (first_in, second_in), "second": (second_in, first_out)}
    read, settings, modes = pydicom.dcmread, pydicom.config.settings, []

    def in_turn(path, **options):
        entered, awaited = turns[path.parent.name]
        entered.set()
        assert awaited.wait(10)
        modes.append(settings.reading_validation_mode)
        return read(path, **options)

    monkeypatch.setattr(pydicom, "dcmread", in_turn)
    before = settings.reading_validation_mode
    with concurrent.futures.ThreadPoolExecutor() as pool:
        one = pool.submit(dicom_headers.read, tmp_path / "first")
        assert first_in.wait(10)
        other = pool.submit(dicom_headers.read, tmp_path / "second")
        one.result()
        first_out.set()
        other.result()
    assert modes == [pydicom.config.IGNORE] * 2
    assert settings.reading_validation_mode == before != pydicom.config.IGNORE
