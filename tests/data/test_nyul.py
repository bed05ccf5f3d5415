import numpy as np
import pytest

from multires_tf.data import nyul
from multires_tf.ground import errors

# Intensities 0, 1, ... 100 have the percents as percentiles.
EVEN = np.arange(101.0)
OWN = np.array([1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99.0])


def test_percentiles_of_an_even_ramp_are_the_percents():
    assert nyul.percentiles(EVEN) == pytest.approx(OWN)


def test_landmarks_are_the_mean_of_the_scaled_percentiles():
    doubled = nyul.landmarks([OWN, 2 * OWN + 7])
    assert doubled == pytest.approx((OWN - 1) / 98 * 100)
    square = nyul.landmarks([OWN, OWN**2])
    assert square[0] == 0
    assert square[-1] == pytest.approx(100)
    assert square[6] == pytest.approx(((50 - 1) / 98 + (2500 - 1) / 9800) / 2 * 100)


def test_percentiles_come_to_lie_on_the_landmarks_and_beyond_it_goes_on():
    standard = nyul.landmarks([OWN**2])
    made = nyul.standardised(OWN, OWN, standard)
    used = [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]
    assert made[used] == pytest.approx(standard[used], abs=1e-4)
    last = (standard[12] - standard[11]) / 9
    assert nyul.standardised(np.array([101.0]), OWN, standard)[0] == pytest.approx(100 + 2 * last)
    below = nyul.standardised(np.array([0.0]), OWN, standard)[0]
    assert below == pytest.approx(-standard[1] / 9)


def test_equal_percentiles_have_the_slope_0():
    own = np.minimum(OWN, 50)
    assert nyul.standardised(np.array([80.0]), own, OWN)[0] == pytest.approx(90)


def test_the_file_is_niftynet_s(tmp_path):
    path = tmp_path / "landmarks.txt"
    nyul.write(path, nyul.landmarks([OWN]))
    name, *numbers = path.read_text().split()
    assert name == "mr"
    assert len(numbers) == 13
    assert np.array_equal(nyul.read(path), nyul.landmarks([OWN]))
    path.write_text("T1 " + " ".join(numbers) + "\n")  # theirs, of one modality
    assert np.array_equal(nyul.read(path), nyul.landmarks([OWN]))


@pytest.mark.parametrize(
    "text", ["", "mr 1 2 3\n", "mr " + "5 4 " * 6 + "3\n", "mr a b\n", "T1 1\nT2 2\n"]
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "landmarks.txt"
    path.write_text(text)
    with pytest.raises(errors.UserError, match=r"landmarks\.txt: no line of 'mr' and 13 rising"):
        nyul.read(path)
