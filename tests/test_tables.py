import math

import numpy as np

from multires_tf import tables


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
