"""How close synthetic rows are to those of training."""

import numpy as np
import pandas as pd
import pytest

import lowerbound as lb
from lowerbound.data import load
from lowerbound.errors import DataError
from lowerbound.evaluation.privacy import _nearest


@pytest.fixture(scope="module")
def parts():
    """Three independent parts of one mixed table, and what its columns mean."""
    rng = np.random.default_rng(0)
    n = 1500
    u = rng.normal(size=n)
    frame = pd.DataFrame(
        {"a": u + rng.normal(size=n), "n": rng.poisson(np.exp(u / 2)), "w": rng.choice(["x", "y"], n)}
    )
    frame.loc[rng.random(n) < 0.1, "w"] = None
    data = load(frame)
    x = next(iter(data.all.batches(n)))[0].numpy()
    return np.split(x[rng.permutation(n)], 3), data.spec.table


def test_rows_that_were_not_copied_are_as_close_to_either(parts):
    (new, train, other), table = parts
    found = lb.evaluate.closeness(new, train, other, table)
    assert abs(found.closer - 0.5) < 3 * found.stderr < 0.15
    assert (found.copies, found.copies_held_out) == (0, 0)


def test_copies_are_seen(parts):
    (new, train, other), table = parts
    found = lb.evaluate.closeness(np.concatenate([new[:250], train[:250]]), train, other, table)
    assert found.copies == 0.5
    assert found.closer == pytest.approx(0.75, abs=0.06)
    near = train + np.float32([1e-4, 0, 0])
    found = lb.evaluate.closeness(near, train, other, table)
    assert found.copies == 0
    assert found.closer > 0.95


def test_tables_of_few_words_have_equal_rows_without_copying(parts):
    _, table = parts
    words = [column for column in table if column.name == "w"]
    few = np.float32([[0], [1], [np.nan]])
    found = lb.evaluate.closeness(few, few, few, words)
    assert (found.copies, found.copies_held_out, found.closer) == (1, 1, 0.5)


def test_the_distance_is_that_of_gower():
    x = np.float32([[0.0, 0.0, np.nan]])
    others = np.float32([[5.0, 1.0, np.nan], [1.0, 0.0, 0.0]])
    distance, which = _nearest(x, others, np.array([True, False, True]), np.array([10.0, 1.0, 1.0]))
    assert distance == pytest.approx([(0.1 + 0 + 1) / 3])  # of the first 0.5 + 1 + 0
    assert which == [1]


def test_each_part_needs_a_row(parts):
    (new, train, _), table = parts
    with pytest.raises(DataError, match="held_out has no row"):
        lb.evaluate.closeness(new, train, train[:0], table)


def test_few_rows_that_all_fall_on_one_side_are_not_certain(parts):
    (_, train, other), table = parts
    near = train[:4] + np.float32([1e-4, 0, 0])
    found = lb.evaluate.closeness(near, train, other, table)
    assert found.closer == 1
    assert found.stderr == pytest.approx((6 / 8 * 2 / 8 / 8) ** 0.5)
