import gzip
import json
import re

import numpy as np

from multires_tf.measure import looks, viewer

LOOKS = {"ct": looks.CT, "mr": looks.MR, "error": looks.ERROR}


def _exhibit(images, body, *, spacing_mm=(2.0, 1.0, 1.0), most_voxels=1e6, subject="p1"):
    shown = {key: (LOOKS[key], image) for key, image in images.items()}
    options = {"body": body, "spacing_mm": spacing_mm, "most_voxels": most_voxels}
    return viewer.subject(subject, "a remark", shown, **options)


def _unpacked(found, key):
    flat = np.frombuffer(gzip.decompress(found.volumes[key]), "<i2")
    return flat.reshape(found.size[::-1])


def test_values_survive_in_whole_steps():
    ct_hu = np.array([-1024.0, -3.0, 0.0, 41.0, 3071.0]).reshape(5, 1, 1)
    error_hu = np.array([np.nan, -8.0, 0.0, 8.0, 10.0]).reshape(5, 1, 1)
    mr = np.array([0.0, 0.2, 0.4, 0.6, 1.0]).reshape(5, 1, 1)
    found = _exhibit({"ct": ct_hu, "error": error_hu, "mr": mr}, np.ones((5, 1, 1), bool))
    assert (4 * _unpacked(found, "ct")).ravel().tolist() == [-1024, -4, 0, 40, 3072]
    assert _unpacked(found, "error").ravel().tolist() == [viewer.BLANK, -2, 0, 2, 2]
    assert _unpacked(found, "mr").ravel().tolist() == [0, 51, 102, 153, 255]


def test_cropped_to_the_body_with_a_margin():
    body = np.zeros((20, 20, 20), bool)
    body[8:10, 0:3, 17:20] = True
    found = _exhibit({"ct": np.where(body, 1000.0, 0.0)}, body)
    assert found.size == (5, 5, 6)
    assert (_unpacked(found, "ct") == 250).sum() == 18


def test_finest_axes_are_averaged_first_and_nan_is_left_out():
    ct_hu = np.zeros((4, 4, 4))
    ct_hu[:, ::2] = 80.0
    error_hu = np.full((4, 4, 4), np.nan)
    error_hu[:, 0, 0] = 40.0
    body = np.ones((4, 4, 4), bool)
    found = _exhibit({"ct": ct_hu, "error": error_hu}, body, most_voxels=16)
    assert found.size == (2, 2, 4) and found.spacing_mm == (2.0, 2.0, 2.0)
    assert found.averaged == 4
    assert (_unpacked(found, "ct") == 10).all()
    assert _unpacked(found, "error")[0].tolist() == [[10, viewer.BLANK], [viewer.BLANK] * 2]


def test_starts_where_most_bone_is():
    ct_hu = np.zeros((6, 7, 8))
    ct_hu[4, :, 3], ct_hu[:, 5, 3] = 900.0, 900.0
    found = _exhibit({"ct": ct_hu}, np.ones(ct_hu.shape, bool))
    assert found.start == (4, 5, 4)


def test_names_cannot_leave_their_script():
    ct_hu = np.zeros((3, 3, 3))
    found = _exhibit({"ct": ct_hu}, np.ones(ct_hu.shape, bool), subject="</script><b>")
    part = viewer.render([found], LOOKS, views=["ct"], overlays=[])
    assert "<b>" not in part
    content = json.loads(re.search(r'id="viewer-data">(.*?)</script>', part, re.S)[1])
    assert content["subjects"][0]["name"] == "</script><b>"
    assert content["colours"]["gray"][255] == [255, 255, 255]
    assert viewer.render([], LOOKS, views=[], overlays=[]) == ""
