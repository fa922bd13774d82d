"""The report on real pixels, without a truth: SDSS frames of one field, and cutouts of T0007 stacks of another.

No galaxy is in both, so the pair table is made up. The measures of pairs have no meaning here, but must have values;
the measures of populations, noise and fine detail are those of real sky. Measures of pairs are checked on real galaxies
to which blank sky from other places of the frame is added, twice.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from survey_tools import open_store
from survey_tools.surveys import CFHT, SDSS
from translator import RECIPES
from translator.evaluation import evaluate as evaluation
from translator.metrics import measure, shapes
from translator.metrics.measure import Sample
from translator.metrics.table import MEASURES, POPULATIONS
from translator.runs.checkpoint import Checkpoint, build_networks, save_checkpoint
from translator.runs.facts import RunFacts, describe_domain, fingerprint_of_pairs, write_facts

BANDS = "gri"
GALAXIES = [  # extended, r 17 to 19, and three stars, in frame 7264-3-111
    (38.68310, -7.07806), (38.62780, -7.06985), (38.62706, -7.03104), (38.57163, -7.09910),
    (38.48151, -6.99973), (38.57156, -6.95343), (38.50956, -6.96497),
]  # fmt: skip
BLANK = [  # 26" without a source that can be seen
    (38.5646, -7.0850), (38.5408, -7.0594), (38.5279, -7.0455), (38.5143, -7.0309), (38.5037, -7.0195),
    (38.4951, -7.0102), (38.6074, -6.9957), (38.6024, -6.9904), (38.6247, -7.0144), (38.6647, -7.0574),
]  # fmt: skip
STACKED = [  # on the T0007 cutouts: two galaxies, four corners, then the star, whose core is saturated
    (215.54383, 52.78323), (215.53203, 52.77377), (215.551707, 52.773025), (215.526258, 52.772933),
    (215.551558, 52.788422), (215.526100, 52.788329), (215.54133, 52.77795),
]  # fmt: skip
T0007_NOISE = (0.09, -0.055, 0.02)  # autocorrelation of blank sky at 1, 2 and 3 pixels: docs/explanation/twin_sky.md
DRAWS = 6


@pytest.fixture(scope="module")
def stores(tmp_path_factory, real_data, known_sky):
    folder = tmp_path_factory.mktemp("real")
    skies = ((SDSS, [*GALAXIES, *BLANK], real_data), (CFHT, STACKED, real_data / "cfht"))
    for survey, places, mirror in skies:
        known_sky.fetch(survey, known_sky.catalogue(places), mirror, folder / f"{survey.name}.zarr", bands=BANDS)
    return SimpleNamespace(folder=folder, **{s.name: open_store(folder / f"{s.name}.zarr") for s, *_ in skies})


@pytest.fixture(scope="module")
def report(stores):
    """The report of an untrained, narrow run on seven made-up pairs."""
    rows, recipe = np.arange(len(STACKED)), replace(RECIPES["demo"], width=4)
    pairs = Table({"x_row": rows, "y_row": rows, "separation": 0.0 * rows, "peak_offset": 0.0 * rows})
    pairs["split"] = "test"
    pairs.meta = {"x_rows": stores.sdss.rows, "y_rows": stores.cfht.rows}
    pairs.write(stores.folder / "pairs.ecsv")
    domains = {"x": describe_domain(stores.sdss), "y": describe_domain(stores.cfht)}
    facts = RunFacts("demo", (1, 1), 2, 0, domains, fingerprint_of_pairs(pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "demo", recipe)
        patch.setattr(evaluation, "write_page", lambda *_: None)  # a page without truth has tests of its own
        patch.setattr(measure, "BOOTSTRAPS", 20)
        patch.setattr(shapes, "FEWEST", 1)
        write_facts(stores.folder / "run", facts)
        weights = {name: value.contiguous() for name, value in build_networks(facts, recipe).state_dict().items()}
        save_checkpoint(stores.folder / "run", Checkpoint(2, 1, weights, {}))
        paths = [stores.folder / name for name in ("sdss.zarr", "cfht.zarr", "pairs.ecsv")]
        evaluation.evaluate(
            evaluation.EvaluationInputs((stores.folder / "run",), *paths),
            evaluation.EvaluationSettings(draws=2, device="cpu"),
            stores.folder / "report",
        )
    return json.loads((stores.folder / "report" / "report.json").read_text(), parse_constant=pytest.fail)


def test_what_a_real_sky_allows_is_measured_and_the_rest_is_named(report):
    used, whole = {"with saturated pixels": 1, "used": 6}, {"with missing pixels": 0}
    assert report["pairs"]["counts"] == {"test pairs": 7} | whole | used
    needed = {name for name, row in MEASURES.items() if set(row.needs) & {"truth", "again", "redshift"}}
    for name, direction in report["directions"].items():
        without = needed | ({"consistency"} if name == "cfht_to_sdss" else set())
        assert set(direction["left_out"]) == without
        assert set(direction["values"]) == set(MEASURES) - without
        floors = {name for name, rows in direction["values"].items() if "floor" in rows}
        assert floors == POPULATIONS  # halves of the real images
        assert "one half of the real images" in direction["references"]["floor"]


def test_every_number_of_a_run_is_one(report):
    """Except colours of the last band, and shapes, which too few of these galaxies have."""
    for name, direction in report["directions"].items():
        for key, rows in direction["values"].items():
            # an untrained network loses most galaxies: then errors have no scatter and no slope
            if not key.startswith(("hsm", "morph")) and not key.endswith(("_scatter", "_slope")):
                values = rows["run"]["value"][: 2 if "colour" in key else 3]
                assert all(value is not None and abs(value) < 1e3 for value in values), (name, key, values)


def test_populations_of_real_sky_are_near_their_floor_of_no_difference(report):
    for direction in report["directions"].values():
        found = {
            name: np.array(rows["floor"]["value"]) for name, rows in direction["values"].items() if "floor" in rows
        }
        assert (np.abs(found["noise_amplitude"]) < 0.08).all()
        assert (found["noise_correlation"] < 0.1).all()
        assert (found["noise_histogram"] < 0.05).all()
        assert (found["noise_bands"] < 0.1).all()
        assert (found["figure6_log_ratio"] < 0.3).all()


def test_the_noise_of_real_stacks_and_cutouts_is_as_correlated_as_it_is(report):
    found = {}
    for name in ("sdss_to_cfht", "cfht_to_sdss"):
        y = report["directions"][name]["curves"]["run"]["curve_noise_correlation"]["y"]
        ways = [np.array(y[f"target, along a {way}"])[:, :3] for way in ("row", "column")]
        found[name] = np.mean(ways, axis=(0, 1))  # of all bands
    np.testing.assert_allclose(found["sdss_to_cfht"], T0007_NOISE, atol=0.02)
    # frames are white; each band of a cutout is interpolated with an offset of its own, and shares noise with the next
    np.testing.assert_allclose(found["cfht_to_sdss"], (0.2, 0.02, 0.01), atol=0.03)


@pytest.fixture(scope="module")
def twice(stores):
    """Real galaxies with blank sky of the same frame added: different sky in targets, translations and draws."""
    count = len(GALAXIES)
    light = stores.sdss.images[:count]
    blank, sigma = stores.sdss.images[count:], stores.sdss.column("sky_sigma")[count:]
    noise = blank - np.median(blank, axis=(2, 3), keepdims=True)

    def seen(turn):
        return light + noise[(np.arange(count) + turn) % len(noise)]

    draws = np.stack([seen(turn) for turn in range(2, 2 + DRAWS)])
    return Sample(tuple(BANDS), SDSS.pixel_scale, seen(1), light, seen(0), sigma[:count], draws=draws)


def value(name, sample):
    return MEASURES[name].summary(MEASURES[name].each(sample))


def test_a_second_image_of_real_galaxies_is_as_far_off_as_noise_makes_it(twice):
    np.testing.assert_allclose(value("figure5_ratio", twice), 1, atol=0.05)
    assert (value("signal_residual_real", twice) < 0.1).all()
    assert (np.abs(value("aperture_offset", twice)) < 0.03).all()
    assert (value("target_sources_lost", twice) < 0.15).all()
    assert (value("target_sources_invented", twice) < 0.15).all()
    assert (np.abs(value("noise_amplitude", twice)) < 0.03).all()
    assert (value("noise_correlation", twice) < 0.05).all()
    np.testing.assert_allclose(value("coverage_pixels_68", twice), 0.68, atol=0.02)
    np.testing.assert_allclose(value("coverage_pixels_95", twice), 0.95, atol=0.01)


def test_flux_and_noise_that_real_galaxies_lack_are_seen(twice):
    dim = replace(twice, signal=0.8 * twice.signal, output=0.8 * twice.signal + (twice.output - twice.signal))
    np.testing.assert_allclose(value("aperture_offset", dim), -2.5 * np.log10(0.8), atol=0.03)
    np.testing.assert_allclose(value("signal_residual_real", dim), 0.2, atol=0.05)
    white = np.random.default_rng(0).normal(size=twice.output.shape) * twice.sigma[:, :, None, None]
    plain = replace(twice, output=white.astype(np.float32), target=twice.target - twice.signal)
    assert (np.abs(value("noise_amplitude", plain)) < 0.03).all()
    assert (value("noise_correlation", plain) > 0.1).all()  # resampled frames are correlated
