import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools import open_store
from translator.intensity import stretch

FLUX = np.random.default_rng(0).normal(0, 0.02, (4, 64, 64, 5)).astype(np.float32)
FLUX[:, 30:34, 30:34] += 1


@pytest.fixture
def examples(tmp_path):
    """Laid out as the authors' own file of examples."""
    path = tmp_path / "img_test_examples.npz"
    counts = np.random.default_rng(1).normal(0, 0.002, (4, 136, 136, 5))
    flux = {"img_test_CFHT_rescaled": counts, "img_test_CFHT_regrided": FLUX * 2, "img_test_SDSS_rescaled": FLUX}
    np.savez(path, **{name: stretch(images.astype(float)) for name, images in flux.items()})
    return path


def test_the_example_file_of_the_authors(galtrans, examples, tmp_path):
    words = ("ingest", examples, "--survey", "sdss", "--stretched", "--out", tmp_path / "x.zarr")
    code, _, complaint = galtrans(*words)
    assert code == 1
    assert complaint.count("\n") == 1
    assert "2 arrays of such images; choose one by --key" in complaint
    code, said, complaint = galtrans(*words, "--key", "img_test_SDSS_rescaled")
    assert (code, complaint) == (0, "")
    assert "4 images: 4 done (0 of them with gaps), 0 failed" in said
    assert "4 have no position" in said
    assert_array_equal(open_store(tmp_path / "x.zarr").images[:], np.moveaxis(FLUX, 3, 1))
    code, said, _ = galtrans(*words, "--key", "img_test_SDSS_rescaled")
    assert code == 0
    assert "complete already" in said
    code, _, _ = galtrans("ingest", examples, "--survey", "cfht", "--stretched", "--out", tmp_path / "y.zarr")
    assert code == 0
    code, said, _ = galtrans("info", tmp_path / "y.zarr")
    assert code == 0
    assert "no positions" in said
    code, _, complaint = galtrans("crossmatch", tmp_path / "x.zarr", tmp_path / "y.zarr", "--out", tmp_path / "p.ecsv")
    assert code == 1
    assert "has no position for any of its 4 objects" in complaint
    code, said, _ = galtrans("export", tmp_path / "x.zarr", "--rows", "0:2", "--out", tmp_path / "fits")
    assert code == 0
    assert "Wrote 0 of 2 rows" in said


def test_options_reach_the_pixels(galtrans, tmp_path):
    np.save(tmp_path / "a.npy", np.moveaxis(FLUX[..., :3], 3, 1) * 1000)
    (tmp_path / "p.csv").write_text("object_id,ra,dec\n" + "".join(f"g{i},{i},0\n" for i in range(4)))
    words = ("--positions", tmp_path / "p.csv", "--unit", "counts", "--zero-point", "30", "--bands", "irg")
    code, said, complaint = galtrans(
        "ingest", tmp_path / "a.npy", "--survey", "sdss", "--axes", "nchw", "--out", tmp_path / "x.zarr", *words
    )
    assert (code, complaint) == (0, "")
    assert "position" not in said
    store = open_store(tmp_path / "x.zarr")
    assert store.bands == ("g", "r", "i")
    assert_allclose(store.images[:], np.moveaxis(FLUX[..., [2, 1, 0]], 3, 1), rtol=1e-6)
    assert store.column("object_id").tolist() == ["g0", "g1", "g2", "g3"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bands", "ugx"), "'ugx': give each band once"),
        (("--bands", "gg"), "'gg': give each band once"),
        (("--unit", "uJy", "--zero-point", "30"), "--unit and --zero-point say the same"),
        (("--unit", "counts", "--zero-point", "nan"), "nan is no magnitude"),
        (("--unit", "furlong"), "'furlong': give one of flux, such as nanomaggy"),
        (("--axes", "HWC"), "--axes"),
        (("--positions", "none.csv"), "none.csv"),
        (("none.npz",), "none.npz"),
    ],
)
def test_wrong_usage(galtrans, examples, tmp_path, words, said):
    code, _, complaint = galtrans("ingest", examples, "--survey", "sdss", "--out", tmp_path / "x.zarr", *words)
    assert code == 2
    assert said in complaint


def test_what_is_missing_is_wrong_usage(galtrans, examples, tmp_path):
    assert galtrans("ingest", "--survey", "sdss", "--out", tmp_path / "x.zarr")[0] == 2
    assert galtrans("ingest", examples, "--out", tmp_path / "x.zarr")[0] == 2
    assert galtrans("ingest", examples, "--survey", "sdss")[0] == 2


def test_failures_are_counted_with_their_reasons(galtrans, tmp_path):
    images = FLUX.copy()
    images[:2] = 0
    np.savez(tmp_path / "a.npz", images=images, ra=np.arange(4.0), dec=np.arange(4.0))
    code, said, _ = galtrans("ingest", tmp_path / "a.npz", "--survey", "sdss", "--out", tmp_path / "x.zarr")
    assert code == 0
    assert "4 images: 2 done (0 of them with gaps), 2 failed" in said
    assert "2 failed: every pixel is 0" in said


def test_the_help_ends_with_an_example(galtrans):
    code, said, _ = galtrans("ingest", "--help")
    assert code == 0
    assert "galtrans ingest sdss.npz --survey sdss --out sdss.zarr" in said
