import numpy as np
from numpy.testing import assert_allclose
from scipy.ndimage import fourier_shift

from translator.evaluation.samples import describe_registration, shifted_powers
from translator.metrics.measure import Sample
from translator.metrics.signal import relative_residual


def sample(count, truth=True):
    rng = np.random.default_rng(0)
    place = np.arange(48) - 23.5
    light = np.exp(-(place[:, None] ** 2 + place**2) / (2 * rng.uniform(2, 3, (count, 1, 1, 1)) ** 2))
    target = light + rng.normal(0, 1e-3, light.shape)
    sigma = np.full((count, 1), 1e-3)
    return Sample(("r",), 0.186, target, target, target, sigma, truth=light if truth else None), light


def test_what_is_lost_is_what_a_shift_by_the_offset_loses():
    images, light = sample(12)
    offsets = np.random.default_rng(1).normal(0, 0.6, (12, 2))
    moved = np.stack([
        np.fft.ifft2(fourier_shift(np.fft.fft2(image[0]), offset)).real
        for image, offset in zip(light, offsets, strict=True)
    ])[:, None]  # fmt: skip
    expected = np.sqrt(np.median(((moved - light) ** 2).sum(axis=(1, 2, 3)) / (light**2).sum(axis=(1, 2, 3))))
    assert_allclose(relative_residual(shifted_powers(images, offsets)), expected, rtol=1e-3)
    real, _ = sample(12, truth=False)
    assert_allclose(relative_residual(shifted_powers(real, offsets)), expected, rtol=0.05)


def test_it_is_said_in_a_sentence():
    images, _ = sample(5)
    alignment = np.broadcast_to([[2.0, 0, 0.6], [0, 2.0, 0.8]], (5, 2, 3))
    found = describe_registration(images, alignment)
    assert found["offset"] == 1.0
    assert "median offset between the grids of input and target is 1.00 pixels" in found["sentence"]
    still = describe_registration(images, np.broadcast_to([[2.0, 0, 0], [0, 2.0, 0]], (5, 2, 3)))
    assert "have the same centre" in still["sentence"]
