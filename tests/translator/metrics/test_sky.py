from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm, t

from translator.metrics import sky
from translator.metrics.blank import blank, sky_of
from translator.metrics.measure import interval
from translator.metrics.sky import HISTOGRAM, LAGS, noise

MEASURES = {measure.name: measure for measure in sky.MEASURES}
FLOORS = {  # what the oracle and whoever has its noise stay under
    "noise_amplitude": 0.03,
    "noise_correlation": 0.05,
    "noise_power": 0.05,
    "noise_histogram": 0.015,
    "noise_tails": 0.2,
    "noise_bands": 0.03,
}


def value(name, sample):
    measure = MEASURES[name]
    return measure.summary(measure.each(sample))


def kernel_power(size, width):
    """Power spectrum (row, col) of the noise of `conftest`, of variance 1."""
    impulse = np.zeros((size, size))
    impulse[0, 0] = 1.0
    power = np.abs(np.fft.fft2(gaussian_filter(impulse, width, mode="wrap"))) ** 2
    return power / power.mean()


def test_the_right_noise_is_at_the_floor(oracle):
    for measure, floor in FLOORS.items():
        assert (np.abs(value(measure, oracle)) < floor).all(), measure


def test_doubled_noise_is_seen_as_twice_the_amplitude_and_four_times_the_power(noise_doubled):
    np.testing.assert_allclose(value("noise_amplitude", noise_doubled), np.log10(2), atol=0.03)
    np.testing.assert_allclose(value("noise_power", noise_doubled), np.log10(4), atol=0.05)
    np.testing.assert_allclose(value("noise_amplitude_ks", noise_doubled), 1)
    apart = np.abs(norm.cdf(HISTOGRAM) - norm.cdf(HISTOGRAM / 2)).max()
    np.testing.assert_allclose(value("noise_histogram", noise_doubled), apart, atol=0.015)
    for name in ("noise_correlation", "noise_tails", "noise_bands"):
        assert (np.abs(value(name, noise_doubled)) < FLOORS[name]).all(), name


def test_missing_noise_is_seen_as_none(noiseless):
    np.testing.assert_allclose(value("noise_amplitude", noiseless), -sky.WORST)
    np.testing.assert_allclose(value("noise_power", noiseless), sky.WORST)
    np.testing.assert_allclose(value("noise_amplitude_ks", noiseless), 1)
    np.testing.assert_allclose(value("noise_histogram", noiseless), norm.sf(0.25), atol=0.015)


def test_white_noise_is_seen_in_correlation_and_power_alone(white_noise, known):
    size = white_noise.target.shape[-1]
    power = kernel_power(size, known.noise_width)
    first = np.fft.ifft2(power).real[0, 1]
    np.testing.assert_allclose(value("noise_correlation", white_noise), first, atol=0.05)
    lean = noise(white_noise).each["power"].mean(axis=0)
    np.testing.assert_allclose(lean[:, 1], 1.0, atol=0.1)
    assert (value("noise_power", white_noise) > 0.3).all()
    for name in ("noise_amplitude", "noise_histogram", "noise_bands"):
        assert (np.abs(value(name, white_noise)) < FLOORS[name]).all(), name


def test_the_correlation_and_power_of_known_noise_are_those_of_its_kernel(oracle, known):
    size = oracle.target.shape[-1]
    power = kernel_power(size, known.noise_width)
    lags = np.fft.ifft2(power).real[0, 1 : LAGS + 1]
    curve = sky.curve_noise_correlation(oracle)
    for label in ("target, along a row", "target, along a column", "translation, along a row"):
        np.testing.assert_allclose(curve.y[label], np.broadcast_to(lags, (2, LAGS)), atol=0.04)
    found = sky.curve_noise_power(oracle)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    ring = np.floor(frequency / 0.5 * len(found.x))
    expected = np.array([power[ring == number].mean() for number in range(len(found.x))])
    # the lowest ring has few modes, less the mean; where there is little power the mask brings some from elsewhere
    for label in ("target", "translation"):
        np.testing.assert_allclose(found.y[label][:, 1:9] / expected[1:9], 1.0, atol=0.12)
    np.testing.assert_allclose(found.maps["target"].mean(axis=(1, 2)), 1.0, atol=0.05)
    assert found.maps["target"].shape == (2, size, size)


def test_noise_that_bands_share_is_seen(oracle):
    draw = np.random.default_rng(8).normal(size=oracle.target.shape)
    share = 0.6
    draw[:, 1] = share * draw[:, 0] + np.sqrt(1 - share**2) * draw[:, 1]
    shared = replace(oracle, output=oracle.truth + draw * oracle.sigma[:, :, None, None])
    np.testing.assert_allclose(value("noise_bands", shared), share, atol=0.03)
    curve = sky.curve_noise_bands(shared)
    np.testing.assert_allclose(curve.y["translation"], [[np.nan, share], [share, np.nan]], atol=0.03)


def test_long_tails_are_seen(oracle):
    draw = np.random.default_rng(9).standard_t(3, size=oracle.target.shape)
    white = np.random.default_rng(10).normal(size=oracle.target.shape)
    unit = oracle.sigma[:, :, None, None]
    real = replace(oracle, target=oracle.truth + white * unit, output=oracle.truth + draw * unit)
    beyond = t(3).sf(3 * t(3).ppf(0.75) / norm.ppf(0.75))  # 3 sigma of what has its quartiles
    np.testing.assert_allclose(value("noise_tails", real), np.log10(beyond / norm.sf(3)), atol=0.2)


def test_amplitudes_of_half_the_galaxies_doubled_are_half_apart(oracle):
    output = oracle.output.copy()
    output[::2] += oracle.output[::2] - oracle.truth[::2]
    distance = value("noise_amplitude_ks", replace(oracle, output=output))
    assert (np.abs(distance - 0.5) < 0.3).all()
    curve = sky.curve_noise_amplitude(oracle)
    assert (np.diff(curve.y["target"], axis=1) >= 0).all()
    np.testing.assert_allclose(curve.y["target"][:, -1], 1)


def test_sky_is_the_same_in_both_and_holds_no_source_of_either(source_added, known):
    where = blank(source_added)
    assert not where[:, 23:25, 23:25].any()
    for light in (known.companions, known.added):
        rows, cols = np.round(light.row).astype(int), np.round(light.col).astype(int)
        assert not where[np.arange(len(where)), rows, cols].any()
    assert 0.3 < where.mean() < 0.9
    images = sky_of(source_added).images
    assert ((images != 0).any(axis=(0, 2)) <= where).all()


def test_galaxies_without_sky_do_not_count(oracle):
    output = oracle.output.copy()
    output[:3] = np.nan
    gap = replace(oracle, output=output)
    for name, measure in MEASURES.items():
        statistics = measure.each(gap)
        rest = oracle.take(np.arange(3, len(oracle)))
        np.testing.assert_allclose(measure.summary(statistics), value(name, rest), atol=1e-6)
        assert np.isfinite(measure.summary(statistics)).all(), name
    nothing = replace(oracle, output=np.full_like(oracle.output, np.nan))
    for name in MEASURES:
        assert np.isnan(value(name, nothing)).all(), name


def test_one_band_has_no_other_to_share_noise_with(oracle):
    images = {name: getattr(oracle, name)[:, :1] for name in ("output", "signal", "target", "truth", "sigma")}
    alone = replace(oracle, bands=("g",), again=None, draws=None, **images)
    assert np.isnan(value("noise_bands", alone)).all()
    assert np.abs(value("noise_amplitude", alone)) < 0.03


def test_the_histogram_is_that_of_a_normal_distribution(oracle):
    curve = sky.curve_noise_histogram(oracle)
    for label in ("target", "translation"):
        np.testing.assert_allclose(curve.y[label][:, 8:13], curve.y["normal"][:, 8:13], rtol=0.1)


def test_an_interval_holds_the_value(oracle):
    measure = MEASURES["noise_power"]
    statistics = measure.each(oracle)
    low, high = interval(measure, statistics, np.random.default_rng(0))
    assert (low < high).all()
