"""Some of the bands of a store, as a store: for two surveys that do not have the same bands."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from survey_tools.errors import StoreError
from survey_tools.store.columns import MEASURED, TRANSLATED
from survey_tools.store.zarr_store import Store, StoredPixels

PER_BAND = {column.name for column in MEASURED + TRANSLATED if column.dims == ("band",)}


class PixelsInBands:
    """Images or masks (object, band, row, col) of some bands; what it is asked for is read for all bands of a chunk."""

    def __init__(self, whole: StoredPixels, places: list[int]) -> None:
        self._whole, self._places = whole, places

    def __getattr__(self, name: str):
        if name.startswith("_"):  # attributes that do not exist yet during unpickling
            raise AttributeError(name)
        return getattr(self._whole, name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Objects, bands, rows and columns."""
        count, _, *grid = self._whole.shape
        return (count, len(self._places), *grid)

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is read at once: objects, bands, rows and columns."""
        rows, _, *grid = self._whole.chunks
        return (rows, len(self._places), *grid)

    def __getitem__(self, key) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        found = self._whole[first]
        single = found.ndim == 3
        found = in_bands(found[None] if single else found, self._places)
        return found[(0 if single else slice(None), *rest)]


class StoreInBands(Store):
    """A store of which only some bands are seen. It can be read, but not written.

    Attributes
    ----------
    whole : Store
        The store with all its bands.
    places : list of int
        Places of the bands in that store.
    """

    def __init__(self, whole: Store, bands: Sequence[str]) -> None:
        self.__dict__.update({name: value for name, value in vars(whole).items() if name not in CACHED})
        self.whole, self.bands = whole, tuple(bands)
        self.places = [whole.bands.index(band) for band in bands]
        self.attributes = whole.attributes | {"bands": list(bands)}
        self.images, self.mask = (PixelsInBands(pixels, self.places) for pixels in (whole.images, whole.mask))
        self.planes = {name: PixelsInBands(pixels, self.places) for name, pixels in whole.planes.items()}

    def column(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """Return one column, as `Store.column` does, of the bands that are seen."""
        values = self.whole.column(name, rows)
        return values[:, self.places] if name in PER_BAND else values

    def read_chunk(self, number: int) -> np.ndarray:
        """Return the images of one chunk, as `Store.read_chunk` does, of the bands that are seen."""
        return in_bands(self.whole.read_chunk(number), self.places)

    def to_xarray(self):
        """Return the store as a Dataset, as `Store.to_xarray` does, of the bands that are seen."""
        return self.whole.to_xarray().isel(band=self.places)


CACHED = tuple(name for name, value in vars(Store).items() if isinstance(value, cached_property))


def in_bands(images: np.ndarray, places: list[int]) -> np.ndarray:
    """Return images (object, band, row, col) in some of their bands; a view if the bands lie side by side."""
    first, count = places[0], len(places)
    if places == list(range(first, first + count)):
        return images[:, first : first + count]
    return images[:, places]


def take_bands(store: Store, bands: Sequence[str]) -> Store:
    """Return a store in some of its bands, in the order that is given.

    Parameters
    ----------
    store : Store
        The store.
    bands : sequence of str
        Bands of the store, each once.

    Returns
    -------
    Store
        The store itself if these are all its bands, in its order.

    Raises
    ------
    StoreError
        The store lacks one of the bands.
    """
    lacking = [band for band in bands if band not in store.bands]
    if lacking:
        raise StoreError(
            f"{store.path} has no band {', '.join(lacking)}; its bands are {''.join(store.bands)}: give some of "
            "these as --bands, or fetch the others"
        )
    if tuple(bands) == store.bands:
        return store
    return store.in_bands(bands) if hasattr(store, "in_bands") else StoreInBands(store, bands)


def share_bands(x: Store, y: Store, bands: Sequence[str] | None = None) -> tuple[Store, Store, list[str]]:
    """Return two stores in the bands that both have, or in those that are asked for.

    Parameters
    ----------
    x, y : Store
        The stores.
    bands : sequence of str, optional
        The bands to take. By default all that both stores have, in the order of x.

    Returns
    -------
    x, y : Store
        The stores in these bands.
    left_out : list of str
        A line for each store that has bands which were not taken because the other store lacks them.

    Raises
    ------
    StoreError
        The stores have no band in common, or one of them lacks a band that is asked for.
    """
    shared = tuple(band for band in x.bands if band in y.bands)
    if bands is None and not shared:
        raise StoreError(
            f"{x.path} has the bands {''.join(x.bands)} and {y.path} has {''.join(y.bands)}: they have none in common"
        )
    taken = shared if bands is None else tuple(bands)
    left_out = []
    for here, there in ((x, y), (y, x)):
        alone = [band for band in here.bands if band not in there.bands]
        if alone and bands is None:
            left_out.append(f"Bands that only {here.path.name} has are left out: {', '.join(alone)}")
    return take_bands(x, taken), take_bands(y, taken), left_out


def read_images_in_bands(store: Store, number: int) -> np.ndarray:
    """Return the images of one chunk, as `read_images` does, of a store in all or in some of its bands."""
    return store.read_chunk(number)
