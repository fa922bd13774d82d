"""What other programs make of a store: netCDF by xarray, TensorStore, and Zarr itself."""

import numpy as np
import pytest
import xarray
import zarr
from numpy.testing import assert_array_equal

from survey_tools import Store

COUNT = 5


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store) -> Store:
    path = tmp_path_factory.mktemp("interchange") / "x.zarr"
    ra, dec = 10.0 + np.arange(COUNT), np.linspace(-40, 40, COUNT)
    return make_store(path, "sdss", ra, dec, bands="gr", missing=[3], saturated=[1], frame=True)


def test_a_whole_store_becomes_netcdf_and_is_read_back(store, tmp_path):
    store.to_xarray().to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as data:
        assert_array_equal(data["images"].values, store.images[:])
        assert_array_equal(data["mask"].values, store.mask[:])
        assert data["mask"].dtype == bool
        for name in store.columns:
            assert_array_equal(data[name].values.astype(store.column(name).dtype), store.column(name))
        assert set(data.coords) == {"band", "object_id", "ra", "dec", "redshift"}
        assert data["images"].dims == ("object", "band", "row", "col")
        assert data.attrs["schema_version"] == 2
        assert data["psf_fwhm"].attrs == {
            "units": "arcsec",
            "long_name": "full width at half maximum of a star's profile",
        }


def test_zarr_opened_by_xarray_alone_becomes_netcdf_too(store, tmp_path):
    with xarray.open_zarr(store.path) as data:
        data.drop_encoding().to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as data:
        assert_array_equal(data["images"].values, store.images[:])


def test_gaps_and_places_on_the_sky_are_stated(store):
    with xarray.open_zarr(store.path) as data:
        assert np.isnan(data["images"].encoding["_FillValue"])
        assert (data.attrs["Conventions"], data.attrs["sky_frame"]) == ("galtrans-store-2", "ICRS")
        assert data.attrs["sky_projection"] == "TAN"
        assert set(data.attrs["sky_wcs"].split()) <= set(data.variables)
        assert set(data.attrs["sky_axes"].split()) == {"row", "col"}
        assert all(array.attrs["long_name"] for array in data.variables.values())


def test_a_dask_chunk_is_what_is_best_read_together(store):
    data = store.to_xarray()
    assert data["images"].chunks[0] == (COUNT,)
    assert data["object_id"].chunks == ((COUNT,),)
    assert data["ra"].sizes == {"object": COUNT}


def test_tensorstore_reads_the_pixels(store):
    import tensorstore

    def read(name: str):
        files = {"driver": "file", "path": str(store.path / name)}
        return tensorstore.open({"driver": "zarr3", "kvstore": files}, read=True).result()

    images = read("images")
    assert images.domain.labels == ("object", "band", "row", "col")
    assert_array_equal(images[:].read().result(), store.images[:])
    assert_array_equal(images[2].read().result(), store.images[2])
    assert_array_equal(read("mask")[:].read().result(), store.mask[:])
    assert_array_equal(read("cd")[:].read().result(), store.column("cd"))


def test_zarr_reads_every_array_with_its_own_description_alone(store):
    for name in ("images", "mask", "band", *store.columns):
        values = zarr.open_array(store.path / name, mode="r")[:]
        assert len(values) == (2 if name == "band" else COUNT)
        if name in ("images", "mask"):
            assert_array_equal(values, getattr(store, name)[:])
