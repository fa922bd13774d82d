"""A partitioned store is translated as an ordinary one is."""

import numpy as np

import survey_tools
import translator


def test_pixels_are_those_of_the_ordinary_store(tmp_path, make_store, write_narrow_run):
    ra = np.array([10.0, 100.0, 190.0, 280.0, 11.0])
    dec = np.array([5.0, -5.0, 60.0, -60.0, 5.0])
    store = make_store(tmp_path / "made.zarr", "sdss", ra, dec, bands="gr", missing=[2])
    parts = survey_tools.partition(store, tmp_path / "parts", rows=2)
    order = np.array([int(name.split("-")[1]) for name in parts.column("object_id")])
    assert len(parts.partitions) > 3
    run = write_narrow_run(tmp_path / "run")
    made = translator.translate(run, parts, out=tmp_path / "translated", device="cpu")
    assert made.synthetic
    assert np.isnan(made.images[int(np.flatnonzero(order == 2)[0])]).all()
    assert survey_tools.verify(made) == []
    # the noise of each row is that of its number among all rows
    ordinary = _copy(parts, tmp_path / "ordinary.zarr")
    whole = translator.translate(run, ordinary, out=tmp_path / "whole.zarr", device="cpu")
    assert np.array_equal(made.images[:], whole.images[:], equal_nan=True)
    assert made.manifest()["status"].tolist() == whole.manifest()["status"].tolist()


def _copy(parts, path):
    """The rows of a partitioned store as an ordinary store."""
    from astropy.table import Table

    from survey_tools.build.builder import Chunk, StorePlan, making
    from survey_tools.build.derived import row_of_survey
    from survey_tools.store.columns import MEASURED

    table = Table({name: parts.column(name) for name in parts.input_catalogue_names})
    with making(StorePlan(row_of_survey(parts), parts.bands, table, {}), path) as build:
        for rows in build.store.chunks():
            columns = {each.name: parts.column(each.name, rows) for each in MEASURED}
            before = parts.manifest()[rows]
            manifest = {name: np.asarray(before[name]) for name in ("status", "reason", "file", "url", "http")}
            build.write(rows, Chunk(parts.images[rows], parts.mask[rows], columns, manifest))
        build.collect()
        return build.finish()
