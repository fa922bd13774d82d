import numpy as np
import pytest

from survey_tools.surveys import CFHT, SDSS
from translator.evaluation import held_out
from translator.evaluation.held_out import open_held_out, reference
from translator.metrics.redshift import aperture_fluxes


@pytest.fixture(scope="module")
def opened(tiny_store, pair_table, tmp_path_factory):
    """Six pairs, of which the third and the last are test pairs; one image of the fifth pair has a gap."""
    folder, ra = tmp_path_factory.mktemp("held"), 150 + 0.1 * np.arange(6)
    x = tiny_store(folder / "x.zarr", SDSS, 16, ra)
    y = tiny_store(folder / "y.zarr", CFHT, 42, ra, spoilt=(4,))
    rows, split = np.arange(6), ["train", "train", "test", "train", "train", "test"]
    pair_table(x, y, rows, rows, split).write(folder / "pairs.ecsv")
    return open_held_out(x.path, y.path, folder / "pairs.ecsv", None, galaxies=None, seed=0)


@pytest.mark.parametrize(("domain", "taught"), [("y", [0, 1, 3]), ("x", [0, 1, 3, 4])])
def test_redshifts_are_learnt_from_whole_images_of_training_pairs_alone(opened, tmp_path, domain, taught):
    files = reference(opened, domain, tmp_path)
    sample, store = files.open(), opened.stores[domain]
    np.testing.assert_allclose(sample.taught, aperture_fluxes(store.images[taught], store.pixel_scale), rtol=1e-5)
    np.testing.assert_array_equal(sample.taught_redshift, np.zeros(len(taught)))
    some = files.take(tmp_path / "some", np.array([1])).open()
    assert (len(some), some.taught) == (1, None)


def test_many_training_pairs_teach_as_many_as_are_allowed(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(held_out, "TAUGHT", 2)
    monkeypatch.setattr(held_out, "AT_ONCE", 1)
    assert len(reference(opened, "x", tmp_path).open().taught) == 2
