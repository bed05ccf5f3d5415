import numpy as np

from multires_tf.measure import tissues


def test_borders_belong_to_soft_tissue():
    ct_hu = np.array([-1000.0, -500.1, -500.0, 200.0, 200.1, 1500.0])
    masks = tissues.masks(ct_hu)
    assert masks["air"].tolist() == [True, True, False, False, False, False]
    assert masks["soft"].tolist() == [False, False, True, True, False, False]
    assert masks["bone"].tolist() == [False, False, False, False, True, True]
