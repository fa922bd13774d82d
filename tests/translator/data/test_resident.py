import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from survey_tools.surveys import CFHT, SDSS
from survey_tools.twin_sky.exposure import draw_exposure
from translator.data import resident
from translator.data.resident import Resident, needed_bytes, needed_rows
from translator.data.selection import Selection, select
from translator.data.streams import make_streams
from translator.images import WHOLE

CPU = torch.device("cpu")


def rounded(flux):
    """Flux as it comes back from images kept as float16."""
    return torch.from_numpy(flux).half().float().numpy()


@pytest.mark.parametrize("survey", [SDSS, CFHT], ids=lambda survey: survey.name)
@pytest.mark.parametrize("band", "ugriz")
def test_float16_rounds_far_below_the_noise_of_the_synthetic_sky(survey, band):
    random = np.random.default_rng(0)
    sigma = draw_exposure(survey.name, band, 1.0, random).sigma
    sky = random.normal(0, sigma, 100_000).astype(np.float32)
    error = rounded(sky) - sky
    assert error.std() < 0.0005 * sigma
    assert abs(error).max() < 0.005 * sigma
    assert abs(error.mean()) < 0.00001 * sigma
    faint = np.linspace(-20 * sigma, 20 * sigma, 10_001, dtype=np.float32)
    assert abs(rounded(faint) - faint).max() < 0.01 * sigma


def test_float16_rounds_a_bright_pixel_by_a_thousandth_of_its_flux_at_most():
    flux = np.geomspace(0.01, 6.5e4, 10_001, dtype=np.float32)
    assert abs(rounded(flux) / flux - 1).max() < 0.001


def test_float16_holds_its_largest_number_for_what_is_brighter(tiny, monkeypatch):
    monkeypatch.setattr(resident, "read_apart", lambda store, rows: [np.full(store.images.shape[1:], 1e6)] * len(rows))
    streams = make_streams((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, WHOLE)
    images = Resident((tiny.x, tiny.y), streams, CPU, torch.float16).batch(0)
    assert all(bool((each == 65504).all()) for each in images)


def test_kept_as_float16_a_batch_is_float32_and_nearly_the_same(tiny):
    streams = make_streams((tiny.x, tiny.y), select(tiny.x, tiny.y, tiny.pairs), 4, 0, WHOLE)
    exact, near = (Resident((tiny.x, tiny.y), streams, CPU, dtype) for dtype in (torch.float32, torch.float16))
    for number in range(5):
        for images, others in zip(exact.batch(number), near.batch(number), strict=True):
            assert others.dtype == torch.float32
            assert float((images - others).abs().max()) <= 2**-11 * float(images.abs().max())
            assert not torch.equal(images, others)


def test_rows_that_several_streams_read_are_kept_once(tiny):
    selection = Selection(np.array([0, 2, 7]), np.array([1, 5]), np.array([[2, 5], [3, 1]]), {})
    streams = make_streams((tiny.x, tiny.y), selection, 4, 0, WHOLE)
    x, y = needed_rows((tiny.x, tiny.y), streams)
    assert_array_equal(x, [0, 2, 3, 7])
    assert_array_equal(y, [1, 5])
    assert needed_bytes((tiny.x, tiny.y), streams) == 4 * (4 * 2 * 16 * 16 + 2 * 2 * 36 * 36)
