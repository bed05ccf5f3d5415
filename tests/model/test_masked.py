"""Draws by channel masks against the thin ones."""

import numpy as np
import pytest

from multires_tf.model import masked, thin


@pytest.mark.parametrize("dropout", ["none", "late", "everywhere"])
def test_masked_draws_are_the_thin_ones(small, triplet, dropout):
    nets, mr = small(dropout=dropout, norm="none"), triplet()
    for draw in [None, (0, 0), (5, 1)] if nets.sampler else [None]:
        found, wanted = (
            network.outputs(network.shared(mr), draw)
            for network in (masked.Draws(nets), thin.Draws(nets))
        )
        assert set(wanted) == set(found)
        for name, made in wanted.items():
            np.testing.assert_allclose(found[name], made, atol=1e-5)


def test_draws_differ(small, triplet):
    network = masked.Draws(small(dropout="everywhere", norm="none"))
    shared = network.shared(triplet())
    one, again, other = (np.asarray(network.outputs(shared, (0, i))["ct"]) for i in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0
