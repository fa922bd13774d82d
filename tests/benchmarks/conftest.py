"""What tests of benchmarks share."""

import numpy as np
import pytest
from astropy.table import Table

from survey_tools.store.zarr_store import create
from survey_tools.surveys import CFHT, SDSS

COUNT, BANDS = 8, "gr"


@pytest.fixture(scope="session")
def benchmark_sky(tmp_path_factory):
    """A folder with the stores and the pair table of a sky, named as `galtrans simulate --benchmark` names them."""
    folder, random = tmp_path_factory.mktemp("sky"), np.random.default_rng(0)
    stores = []
    for name, survey, size in (("sdss", SDSS, 16), ("cfht", CFHT, 36)):
        catalogue = Table({"object_id": [f"{name}-{i}" for i in range(COUNT)], "ra": 150 + 0.1 * np.arange(COUNT)})
        catalogue["dec"] = catalogue["redshift"] = np.zeros(COUNT)
        scale = survey.pixel_scale * survey.cutout_size / size
        store = create(folder / f"{name}.zarr", survey, BANDS, catalogue, {"test": True}, size=size, pixel_scale=scale)
        images = random.normal(0, 0.01, (COUNT, len(BANDS), size, size)).astype(np.float32)
        for rows in store.chunks():
            store.write(rows, images[rows], np.isnan(images[rows]))
        flat = np.ones((COUNT, len(BANDS)))
        store.write_columns({"coverage": flat, "sky_sigma": 0.01 * flat, "saturated": 0 * flat})
        stores.append(store.finish(Table({"object_id": catalogue["object_id"], "status": np.full(COUNT, "done")})))
    half = COUNT // 2  # the others have no partner
    pairs = Table({"x_row": np.arange(half), "y_row": np.arange(half), "separation": np.zeros(half)})
    pairs["peak_offset"], pairs["split"] = np.zeros(half), "train"
    pairs.meta = {
        "x": str(stores[0].path),
        "y": str(stores[1].path),
        "x_rows": stores[0].rows,
        "y_rows": stores[1].rows,
    }
    pairs.write(folder / "pairs.ecsv")
    return folder
