import numpy as np
import pytest

from iitdask.theory.marginal_tables import child_masks


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 4), (4, 1), (2, 5), (5, 2)])
def test_child_masks__have_a_bit_for_every_unit_that_is_fed(shape):
    edges = np.random.default_rng(3).random(shape) < 0.5
    wanted = [sum(1 << j for j in range(shape[1]) if row[j]) for row in edges]
    assert child_masks(edges).tolist() == wanted
