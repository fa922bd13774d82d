"""Translation of a store into a store: its rows and pixels, resuming, and errors."""

import hashlib
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import Store, open_store
from survey_tools.build.regridded import regrid_store
from survey_tools.errors import RunError, StoreError
from survey_tools.fits.export import export
from survey_tools.images.cutout import sky_sigma
from survey_tools.store.summary import summarise
from survey_tools.store.verify import verify
from survey_tools.tasks import Engine
from translator import RECIPES
from translator.runs.checkpoint import Checkpoint, build_networks, load_run, save_checkpoint
from translator.runs.facts import Domain, RunFacts, read_facts, write_facts
from translator.translation import asking
from translator.translation import stores as module
from translator.translation.asking import Depth, How
from translator.translation.files import translate_file
from translator.translation.stores import translate_store

COUNT, MISSING, HOLE, SATURATED = 7, 2, 4, 5
RA, DEC = (np.arange(COUNT) * 0.1 - 0.3) % 360, 52.7 + np.arange(COUNT) * 0.01
SMALL_CHUNKS = 2 * 2 * 136 * 136 * 4  # two objects of two bands in a chunk of 136 × 136 pixels, eight of 64 × 64
GRIDS = {"x": ("sdss", 64, 0.396), "y": ("cfht", 136, 0.186)}


@pytest.fixture(scope="module")
def run(tmp_path_factory, write_narrow_run):
    """A narrow run in two bands with its initial weights."""
    return write_narrow_run(tmp_path_factory.mktemp("runs") / "narrow")


@pytest.fixture(scope="module")
def x(tmp_path_factory, make_store):
    """An SDSS store in three bands, of which the run reads two: a row has no image, one a gap, one saturated pixels."""
    path = tmp_path_factory.mktemp("stores") / "x.zarr"
    with pytest.MonkeyPatch.context() as patch:
        write = Store.write

        def holed(store, rows, images, mask, planes=None):
            if HOLE in range(rows.start, rows.stop):
                hole = np.s_[HOLE - rows.start, 2, 10, 10:13]
                images[hole], mask[hole] = np.nan, True
            write(store, rows, images, mask, planes)

        patch.setattr(Store, "write", holed)
        make_store(path, "sdss", RA, DEC, bands="ugr", missing=[MISSING], saturated=[SATURATED], frame=True)
    return path


@pytest.fixture(scope="module")
def made(run, x, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "y.zarr"
    return translate_store(run, x, out, how=How(seed=5), engine=Engine(2), chunk_bytes=SMALL_CHUNKS)


def files(store) -> dict[str, str]:
    found = [path for path in store.rglob("*") if path.is_file()]
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_rows_are_the_same_objects_on_the_other_survey_s_pixels(x, made):
    before = open_store(x)
    for name in ("object_id", "ra", "dec", "redshift", "run", "rerun", "camcol", "field"):
        assert_array_equal(made.column(name), before.column(name))
    assert (made.survey["name"], made.bands, made.size, made.pixel_scale) == ("cfht", ("g", "r"), 136, 0.186)
    assert len(made.chunks()) == 4
    for row in set(range(COUNT)) - {MISSING, HOLE}:
        centre = before.wcs(row).pixel_to_world(31.5, 31.5)
        assert centre.separation(made.wcs(row).pixel_to_world(67.5, 67.5)).arcsec < 1e-6
        scale = np.sqrt(abs(np.linalg.det(made.wcs(row).pixel_scale_matrix))) * 3600
        assert_allclose(scale, 0.186, rtol=1e-6)
    assert verify(made.path) == []


def test_a_row_is_what_the_same_file_of_it_becomes(run, x, made, tmp_path):
    (source,) = export(open_store(x), [3], tmp_path)
    alone = translate_file(load_run(run), source, "y", tmp_path / "y.fits", noise=False)
    whole = translate_store(run, x, tmp_path / "y.zarr", how=How(noise=False), engine=Engine(2))
    with fits.open(alone) as hdus:
        for band, image in zip("gr", whole.images[3], strict=True):
            assert_array_equal(hdus[band].data, image)
    assert whole.settings["noise"] == "none"
    noise = made.images[3] - whole.images[3]
    assert (noise != 0).all()
    assert_allclose(made.column("sky_sigma")[3, 1], sky_sigma(made.images[3, 1], made.mask[3, 1]), rtol=1e-6)


def test_what_cannot_be_translated_is_nan_and_the_manifest_says_why(x, made):
    manifest, before = made.manifest(), open_store(x).manifest()
    done = [row for row in range(COUNT) if row not in (MISSING, HOLE)]
    assert set(manifest["status"][done]) == {"done"}
    assert set(manifest["file"][done]) == {"x.zarr"}
    assert list(manifest[MISSING]) == list(before[MISSING])  # outside, as it was
    assert manifest["status"][HOLE] == "failed"
    assert manifest["reason"][HOLE] == "band r has no data in 3 of the 64^2 pixels that the model reads"
    assert np.isnan(made.images[[MISSING, HOLE]]).all()
    assert_array_equal(made.usable, np.isin(np.arange(COUNT), done))


def test_saturated_pixels_are_flagged_where_they_lie(x, made, tmp_path, make_store, run):
    assert made.column("saturated").sum() == 0  # in u, which the run does not read
    store = make_store(tmp_path / "x.zarr", "sdss", RA[:2], DEC[:2], bands="gr", saturated=[1])
    flags = translate_store(run, store.path, tmp_path / "y.zarr")
    assert_array_equal(flags.column("saturated") > 0, [[False, False], [True, False]])
    row, col = np.nonzero(flags.mask[1, 0])
    assert_allclose([row.mean(), col.mean()], 67.5, atol=1.2)


def test_nobody_takes_it_for_an_observation(run, made, x, tmp_path):
    assert "NOT an observation" in made.attributes["synthetic"]
    assert made.settings["weights"] == load_run(run).checksum
    assert made.column("source")[0, 0] == "x.zarr, row 0, by narrow"
    assert summarise(made)[0] == ("SYNTHETIC", "made by a neural network: NOT an observation")
    assert open_store(x).synthetic == ""
    again = regrid_store(made.path, x, tmp_path / "y64.zarr")
    for store in (made, again):
        (path,) = export(store, [0], tmp_path / str(store.size))
        header = fits.getheader(path)
        assert header["SYNTH"] is True
        assert "imitate" in header.comments["SURVEY"]
        assert "galtrans translate: run narrow, recipe demo" in " ".join(map(str, header["HISTORY"]))


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_no_byte(run, x, made, tmp_path, workers):
    again = translate_store(
        run, x, tmp_path / "y.zarr", how=How(seed=5), engine=Engine(workers), chunk_bytes=SMALL_CHUNKS
    )
    assert files(again.path) == files(made.path)
    assert [path.name for path in tmp_path.iterdir()] == ["y.zarr"]


def test_noise_depends_on_seed_and_row_alone(run, x, made, tmp_path):
    whole = translate_store(run, x, tmp_path / "y.zarr", how=How(seed=5))  # in one chunk
    assert len(whole.chunks()) == 1
    assert_array_equal(whole.images[:], made.images[:])
    other = translate_store(run, x, tmp_path / "other.zarr", how=How(seed=6))
    assert (other.images[0] != made.images[0]).any()
    assert (other.images[0] - made.images[0])[0].std() > 0


def test_an_interrupted_run_goes_on_to_the_same_bytes(run, x, made, tmp_path, monkeypatch):
    calls, whole = [], module.translate_each

    def stopping(*args, **how):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*args, **how)

    monkeypatch.setattr(module, "translate_each", stopping)
    out = tmp_path / "y.zarr"
    with pytest.raises(KeyboardInterrupt):
        translate_store(run, x, out, how=How(seed=5), chunk_bytes=SMALL_CHUNKS)
    with pytest.raises(StoreError, match="not finished"):
        open_store(out)
    with pytest.raises(StoreError, match=r"y\.zarr\.part was begun with other settings"):
        translate_store(run, x, out, how=How(seed=6))
    assert files(translate_store(run, x, out, how=How(seed=5)).path) == files(made.path)
    assert len(calls) == 5  # two chunks, the one that was stopped, and two more
    monkeypatch.setattr(module, "translate_each", None)
    assert translate_store(run, x, out, how=How(seed=5)).rows == made.rows  # it is there
    with pytest.raises(StoreError, match=r"was made with other seed; .*--overwrite"):
        translate_store(run, x, out, how=How(seed=6))


@pytest.mark.parametrize(
    ("facts", "to", "said"),
    [
        ({"bands": "gr"}, "sdss", r"translates sdss, which .*z\.zarr is, into cfht and not sdss; give --to cfht"),
        ({"bands": "g"}, None, r"reads bands gr, and .*z\.zarr has g; make a store with r as well"),
        (
            {"name": "cfht", "like": "sdss"},
            None,
            r"reads 136 x 136 pixels of 0\.186 arcsec of cfht, and .* has 64 x 64",
        ),
        ({"name": "cfht", "bands": "gr"}, "cfht", r"translates cfht, which .* is, into sdss and not cfht"),
    ],
)
def test_a_store_that_the_run_does_not_read_is_refused(run, x, make_store, tmp_path, facts, to, said):
    name, bands = facts.get("name", "sdss"), facts.get("bands", "gr")
    store = make_store(tmp_path / "z.zarr", name, RA[:2], DEC[:2], bands=bands)
    if "like" in facts:
        store = regrid_store(store.path, x, tmp_path / "z64.zarr")
    with pytest.raises(RunError, match=said):
        translate_store(run, store.path, tmp_path / "y.zarr", to=to)
    assert not (tmp_path / "y.zarr.part").exists()


def test_a_run_of_other_surveys_is_refused(run, x, tmp_path, monkeypatch):
    store = open_store(x)
    monkeypatch.setattr(module, "open_store", lambda _: replaced(store, "hst"))
    with pytest.raises(RunError, match="narrow translates between sdss and cfht, not hst"):
        translate_store(run, x, tmp_path / "y.zarr")


def replaced(store, name):
    store.survey = store.survey | {"name": name}
    return store


def test_the_store_itself_is_not_written_over(run, x):
    with pytest.raises(StoreError, match="is the store to read"):
        translate_store(run, x, x, overwrite=True)


@pytest.fixture(scope="module")
def matched(tmp_path_factory):
    """A narrow run of `psf_matched` in three bands, with its initial weights."""
    path = tmp_path_factory.mktemp("runs") / "matched"
    domains = {
        d: Domain(survey, ("g", "r", "i"), *grid, (0.01,) * 3, "", (seeing,) * 3)
        for (d, (survey, *grid)), seeing in zip(GRIDS.items(), (1.3, 0.7), strict=True)
    }
    facts = RunFacts("psf_matched", (1, 1, 1), 2, 0, domains, "", width=4)
    networks = build_networks(facts, RECIPES["psf_matched"])
    networks["survey_y"].psf_fwhm.fill_(0.7)
    weights = {name: tensor.contiguous() for name, tensor in networks.state_dict().items()}
    write_facts(path, facts)
    save_checkpoint(path, Checkpoint(3, 2, weights, {}))
    return path


def test_a_run_that_reads_any_image_takes_gaps_masks_and_some_of_the_bands(matched, x, tmp_path):
    how = How(seed=2, seeing=(0.6,), depth=(Depth(0.05, False),))
    made = translate_store(matched, x, tmp_path / "y.zarr", how=how, engine=Engine(2))
    assert (made.bands, made.size) == (("g", "r"), 136)
    assert made.settings["asked"] == {"seeing": [0.6], "depth": ["0.05nanomaggy"]}
    manifest = made.manifest()
    done = np.array([status == "done" for status in manifest["status"]])
    assert done.sum() == COUNT - 1
    assert_allclose(made.column("psf_fwhm")[done], 0.6)
    assert_allclose(np.median(made.column("sky_sigma")[done]), 0.05, rtol=0.1)
    assert np.isfinite(made.images[HOLE]).all()  # three pixels of its input are missing, which neighbours stand for
    assert verify(made.path) == []
    again = translate_store(matched, x, tmp_path / "again.zarr", how=how, engine=Engine(1))
    assert files(again.path) == files(made.path)


def test_planes_draws_and_consistency_are_those_of_the_same_image_as_a_file(matched, x, tmp_path):
    how = How(seed=2, planes=True, draws=2)
    made = translate_store(matched, x, tmp_path / "y.zarr", how=how, engine=Engine(2), chunk_bytes=SMALL_CHUNKS)
    assert list(made.planes) == ["signal", "sigma", "draw_1", "draw_2"]
    assert made.settings["asked"] == {"planes": True, "draws": 2}
    done = np.array([status == "done" for status in made.manifest()["status"]])
    consistency = made.column("consistency")
    assert np.isfinite(consistency[done]).all()
    assert np.isnan(consistency[MISSING]).all()
    assert np.isnan(made.planes["sigma"][MISSING]).all()
    signal, draw, sigma = (made.planes[name][0] for name in ("signal", "draw_1", "sigma"))
    assert (sigma > 0).all()
    assert not np.array_equal(draw, made.planes["draw_2"][0])
    noise = made.images[0] - signal
    assert_allclose(np.median(sigma, axis=(1, 2)), noise.std(axis=(1, 2)), rtol=0.5)
    plain = translate_store(
        matched, x, tmp_path / "plain.zarr", how=How(seed=2), engine=Engine(1), chunk_bytes=SMALL_CHUNKS
    )
    assert plain.planes == {}
    assert_array_equal(plain.column("consistency"), consistency)
    assert verify(made.path) == []
    assert dict(summarise(made))["planes"] == "signal sigma draw_1 draw_2"
    (path,) = export(made, [0], tmp_path / "fits")
    with fits.open(path) as hdus:
        assert_array_equal(hdus["SIGMA_g"].data, sigma[0])
        assert_array_equal(hdus["DRAW_2_r"].data, made.planes["draw_2"][0, 1])
        assert_allclose(hdus["g"].header["CONSIST"], consistency[0, 0], rtol=1e-6)
    with pytest.raises(StoreError):
        translate_store(matched, x, tmp_path / "y.zarr", how=How(seed=2))


@pytest.fixture(scope="module")
def lively(matched, tmp_path_factory):
    """The same run, whose networks change their input: weights of 0 are replaced by random ones."""
    path = tmp_path_factory.mktemp("runs") / "lively"
    run, random = load_run(matched, "cpu"), torch.Generator().manual_seed(0)
    weights = {name: tensor.contiguous() for name, tensor in run.networks.state_dict().items()}
    for name, tensor in weights.items():
        if name.startswith(("restoration", "draws")) and not tensor.any():
            weights[name] = 0.1 * torch.randn(tensor.shape, generator=random)
    write_facts(path, run.facts)
    save_checkpoint(path, Checkpoint(3, 2, weights, {}))
    return path


@pytest.mark.parametrize("how", [How(), How(planes=True, draws=1), How(precision="bf16")])
def test_a_row_alone_is_the_row_among_others_to_the_bit(lively, x, how, monkeypatch):
    kept = []
    monkeypatch.setattr(module, "derive", lambda derivation, *others, **options: kept.append(derivation))
    translate_store(lively, x, "unused.zarr", how=how)
    (derivation,) = kept
    every = derivation.make(slice(0, COUNT))
    assert np.isfinite(every.images[[0, HOLE, COUNT - 1]]).any(axis=(1, 2, 3)).all()
    for row in (0, HOLE, COUNT - 1):
        alone = derivation.make(slice(row, row + 1))
        assert_array_equal(alone.images[0], every.images[row])
        assert_array_equal(alone.mask[0], every.mask[row])
        for name, values in every.planes.items():
            assert_array_equal(alone.planes[name][0], values[row])
        for name in ("sky_sigma", "consistency"):
            assert_array_equal(alone.columns[name][0], every.columns[name][row])


def test_the_precision_is_stated_and_changes_little(lively, x, tmp_path, monkeypatch):
    plain = translate_store(lively, x, tmp_path / "plain.zarr", how=How(noise=False))
    fast = translate_store(lively, x, tmp_path / "fast.zarr", how=How(noise=False, precision="bf16"))
    assert (plain.settings["precision"], fast.settings["precision"]) == ("float32", "bf16")
    away = np.abs(fast.images[:] - plain.images[:])[0]
    assert 0 < away.max() < 0.02 * np.abs(plain.images[:][0]).max()
    (path,) = export(open_store(x), [0], tmp_path / "fits")
    for faster, word in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(asking, "has_bf16", lambda device, faster=faster: faster)
        out = translate_file(load_run(lively, "cpu"), path, "y", tmp_path / f"{word}.fits", precision="auto")
        assert fits.getheader(out)["GTPREC"] == word
        assert asking.settled(How(precision="auto"), load_run(lively, "cpu")).precision == word


def test_what_is_inconsistent_with_its_input_is_said(matched, x, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DOUBTFUL", 0.1)
    made = translate_store(matched, x, tmp_path / "y.zarr")
    assert "inconsistent with its input: chi2 a pixel is" in made.manifest()["reason"][0]


def test_wishes_are_for_recipes_that_can_grant_them(run, x, tmp_path):
    with pytest.raises(RunError, match="--seeing needs a run of a recipe that is told"):
        translate_store(run, x, tmp_path / "y.zarr", how=How(seeing=(0.6,)))
    with pytest.raises(RunError, match="--precision bf16 needs a run of a recipe that is told"):
        translate_store(run, x, tmp_path / "z.zarr", how=How(precision="bf16"))
    assert asking.settled(How(precision="auto"), load_run(run, "cpu")).precision == "float32"
    assert not (tmp_path / "y.zarr").exists()


def test_a_store_of_translations_is_no_store_of_observations(run, made, tmp_path):
    with pytest.raises(RunError, match=r"NOT an observation; .*--force"):
        translate_store(run, made.path, tmp_path / "back.zarr")
    assert not (tmp_path / "back.zarr").exists()
    back = translate_store(run, made.path, tmp_path / "back.zarr", how=How(force=True))
    assert (back.survey["name"], len(back)) == ("sdss", len(made))


def test_an_unfinished_run_translates_a_store_with_a_warning(x, tmp_path, run, caplog):
    half = tmp_path / "half"
    shutil.copytree(run, half)
    facts = read_facts(half)
    write_facts(half, replace(facts, iterations=(100, 200)))
    with caplog.at_level(logging.WARNING):
        translate_store(half, x, tmp_path / "y.zarr")
    assert [record.getMessage() for record in caplog.records if "of 300 training iterations" in record.getMessage()]
