"""Intervals: the result for many selections of galaxies at once is that for each selection alone."""

import numpy as np
import pytest

from translator.metrics.measure import interval, of_selections
from translator.metrics.shapes import structure
from translator.metrics.table import MEASURES

QUICK = {name: measure for name, measure in MEASURES.items() if measure.each is not structure}  # statmorph is slow


@pytest.fixture(scope="module")
def statistics(oracle):
    """Statistics of each measure in two bands, with some missing values."""
    random, known = np.random.default_rng(3), {}
    for measure in QUICK.values():
        if measure.applies(oracle) and measure.each not in known:
            found = {name: value.copy() for name, value in measure.each(oracle).items()}
            for name, value in found.items():
                if value.dtype.kind == "f" and value.ndim == 2:
                    found[name][random.integers(len(value)), random.integers(value.shape[1])] = np.nan
            known[measure.each] = found
    return known


@pytest.mark.filterwarnings("ignore")  # of nothing but NaN in a band of one galaxy
@pytest.mark.parametrize("name", list(QUICK))
def test_selections_at_once_are_what_each_is_alone(name, statistics):
    measure = QUICK[name]
    if measure.each not in statistics:
        pytest.skip("the sample has not what it needs")
    found = statistics[measure.each]
    count = len(next(iter(found.values())))
    several = np.random.default_rng(1).integers(0, count, (5, count))
    for some in (several, np.arange(count)[:3, None]):
        with np.errstate(all="ignore"):
            alone = [measure.summary({key: value[each] for key, value in found.items()}) for each in some]
            together = of_selections(measure, found, some)
        np.testing.assert_allclose(together, np.array(alone, float), rtol=1e-4, atol=1e-6)


def test_an_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=(400, 1)) * [1.0, 2.0]
    low, high = interval(mean_of(values), {"values": values}, np.random.default_rng(1))
    np.testing.assert_allclose((high - low) / 2, values.std(axis=0) / 20, rtol=0.15)  # ± one standard error
    assert (low < values.mean(axis=0)).all()
    assert (high > values.mean(axis=0)).all()


def mean_of(values):
    row = next(iter(MEASURES.values()))
    return row.__class__("m", "", "", "", "", "", 0.0, (), lambda _: {"values": values}, lambda s: s["values"].mean(0))
