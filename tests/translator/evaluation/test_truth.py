import numpy as np
import pytest

from survey_tools import open_store
from survey_tools.errors import StoreError
from survey_tools.store.zarr_store import open_begun
from survey_tools.surveys import CFHT, SDSS
from translator.evaluation import truth
from translator.evaluation.truth import open_truth, truth_rows

COUNT = 4
RA = 150 + 0.1 * np.arange(COUNT)


def with_grid(store, shift=0.0):
    """Return the store with a WCS whose grids are shifted by `shift` pixels along the columns."""
    step = np.diag([-1.0, 1.0]) * store.pixel_scale / 3600
    columns = {
        "crval": np.stack([RA, np.zeros(COUNT)], axis=1),
        "crpix": np.full((COUNT, 2), (store.size + 1) / 2) + [shift, 0.0],
        "cd": np.broadcast_to(step, (COUNT, 2, 2)),
    }
    begun = open_begun(store.path)
    begun.write_columns(columns)
    return begun.finish()


@pytest.fixture
def make(tmp_path, tiny_store):
    def made(folder, survey=SDSS, size=16, shift=0.0):
        return with_grid(tiny_store(tmp_path / folder / f"{survey.name}.zarr", survey, size, RA), shift)

    return made


def test_objects_are_found_by_name(make):
    rows = np.array([2, 0])
    np.testing.assert_array_equal(truth_rows(make("truth"), make("sky"), rows, "x"), rows)


@pytest.mark.parametrize(("shift", "fits"), [(0.005, True), (0.02, False)])
def test_a_truth_that_lies_elsewhere_is_refused(make, shift, fits):
    twin, store = make("truth", shift=shift), make("sky")
    if fits:
        truth_rows(twin, store, np.arange(COUNT), "x")
    else:
        with pytest.raises(StoreError, match=r"shows object sdss-\d 0\.02 pixels away from where .*sdss\.zarr has it"):
            truth_rows(twin, store, np.arange(COUNT), "x")


def test_a_folder_without_any_truth_is_refused(make, tmp_path):
    with pytest.raises(StoreError, match=r"has neither sdss\.zarr nor noise-free archive files of sdss"):
        open_truth(tmp_path, {"x": make("sky")}, {"x": np.arange(2)}, tmp_path / "work")


def test_a_truth_on_another_grid_is_refused(make, tmp_path):
    make("truth", size=20)
    with pytest.raises(StoreError, match=r"has 20 pixels in gr and .* has 16"):
        open_truth(tmp_path / "truth", {"x": make("sky")}, {"x": np.arange(2)}, None)


def test_archive_files_are_cut_for_the_wanted_rows_alone(make, tiny_store, tmp_path, monkeypatch):
    (tmp_path / "sky" / "truth" / "cfht").mkdir(parents=True)
    store, asked = make("store", CFHT, 36), {}

    def fetch(archive, catalogue, out, *, bands, engine):
        asked.update(names=list(catalogue["object_id"]), bands=bands)
        return tiny_store(out, CFHT, 36, np.asarray(catalogue["ra"]))

    monkeypatch.setattr(truth, "fetch", fetch)
    found = open_truth(tmp_path / "sky" / "truth", {"y": store}, {"y": np.array([3, 1])}, tmp_path / "work")
    assert asked == {"names": ["cfht-1", "cfht-3"], "bands": store.bands}
    assert found["y"].path == tmp_path / "work" / "truth" / "cfht.zarr"


def test_the_archive_files_of_any_two_simulated_surveys_are_a_truth(tmp_path):
    pytest.importorskip("galsim")
    from survey_tools import fetch
    from survey_tools.twin_sky.simulate import simulate_archive

    names, sky = {"x": "des", "y": "hsc"}, tmp_path / "sky"
    simulate_archive(sky, galaxies=4, bands={"des": "r", "hsc": "r"}, tile_size=420, seed=2)
    for name in names.values():
        catalogue, mirror = sky / f"catalogue_{name}.ecsv", sky / name
        fetch(catalogue, name, tmp_path / f"{name}.zarr", mirror=mirror, bands="r")
    stores = {domain: open_store(tmp_path / f"{name}.zarr") for domain, name in names.items()}
    rows = {domain: np.flatnonzero(store.usable)[:1] for domain, store in stores.items()}
    found = open_truth(sky / "truth", stores, rows, tmp_path / "work")
    for domain, store in stores.items():
        row = truth_rows(found[domain], store, rows[domain], domain)[0]
        noise = store.images[int(rows[domain][0])] - found[domain].images[int(row)]
        assert 0 < np.median(np.abs(noise)) < 2 * np.median(store.column("sky_sigma"))
