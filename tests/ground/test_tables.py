import math

import numpy as np
import pytest

from multires_tf.ground import errors, tables


def test_rows_come_back_in_full_precision_and_without_numbers_that_are_none(tmp_path):
    rows = [
        {"subject": "a,b", "voxels": 3, "mae_hu": np.float64(1 / 3)},
        {"subject": "c", "mae_hu": math.nan, "later": None},
    ]
    tables.write(tmp_path / "t.csv", rows, ("subject", "split"))
    header = (tmp_path / "t.csv").read_text().splitlines()[0]
    assert header == "subject,split,voxels,mae_hu,later"
    first, second = tables.read(tmp_path / "t.csv")
    assert first["subject"] == "a,b" and first["split"] == ""
    assert float(first["mae_hu"]) == 1 / 3
    assert (second["voxels"], second["mae_hu"], second["later"]) == ("", "", "")


def test_numbers_are_numbers_and_what_is_none_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("subject,mae_hu\n007,1.5\nb,\n")
    rows = tables.numbers(path, "evaluate", words=("subject",))
    assert rows == [{"subject": "007", "mae_hu": 1.5}, {"subject": "b", "mae_hu": None}]
    for damaged in ("subject,mae_hu\na,x\n", "mae_hu\n1.5\n", "subject,mae_hu\na,1,2\n"):
        path.write_text(damaged)
        with pytest.raises(errors.UserError, match=r"t.csv: damaged table; run 'evaluate' again"):
            tables.numbers(path, "evaluate", words=("subject",))
