# %% [markdown]
# # One real galaxy, from catalogue to picture
#
# This tutorial fetches one galaxy that SDSS has observed, looks at it, and asks what the CFHT Legacy Survey would have
# seen in its place. It needs no network: the folder `docs/tutorials/data` of the repository has a small piece of five
# real SDSS frames, in the layout of the archive. Run it in the repository or in `docs/tutorials`.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from astropy.table import Table
from astropy.visualization import make_lupton_rgb
from astropy.wcs import WCS

from survey_tools import fetch
from translator import load_run, translate

# the small frames
data = Path("docs/tutorials/data" if Path("docs").exists() else "data")
work = Path(tempfile.mkdtemp())  # where this tutorial writes

# %% [markdown]
# ## The catalogue
#
# A catalogue has one row for each object: an identifier and a position. This one also names the SDSS frame, as the
# tables of SDSS do.

# %%
catalogue = Table.read(data / "galaxy.csv")
catalogue

# %% [markdown]
# ## Fetch
#
# `fetch` cuts the galaxy out of the frames and writes a *store*, a folder in Zarr format. `mirror` is a folder with
# files of the archive. Without `mirror`, the same call downloads the frames from SDSS.

# %%
store = fetch(catalogue, "sdss", work / "sdss.zarr", mirror=data)
store.catalogue["object_id", "coverage", "sky_sigma", "gain"]

# %% [markdown]
# `coverage` is 1 in each of the five bands: every pixel has data. `sky_sigma` is the noise of a pixel of blank sky. It
# follows from the calibration in each frame. The manifest says what happened to each row of the catalogue.

# %%
store.manifest()["object_id", "status", "reason"]

# %% [markdown]
# `store[0]` gives the images of the first object. For each band it has a `CCDData` of astropy, with pixels in
# nanomaggies, mask, WCS and uncertainty.

# %%
galaxy = store[0]
galaxy["r"].shape, galaxy["r"].unit, galaxy["r"].meta["object_id"]

# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.8))
for axis, (band, image) in zip(axes, galaxy.items(), strict=True):
    noise = image.meta["sky_sigma"]
    axis.imshow(
        image.data,
        origin="lower",
        cmap="gray_r",
        vmin=-2 * noise,
        vmax=12 * noise,
    )
    axis.set_title(f"SDSS {band}")
    axis.set_axis_off()

# %% [markdown]
# ## Translate
#
# `sdss-cfhtls` is the trained model that comes with galtrans. It restores what the seeing and the noise of SDSS have
# hidden but not destroyed, and adds the noise of CFHTLS.
#
# These frames do not say how good the seeing was, but the stars of the whole field do: the full width at half maximum
# of their profile is 1.60, 1.67, 1.37, 1.25 and 1.25 arcsec in *u, g, r, i, z*. We give these numbers to the model.
# (From the archive, `fetch` reads the seeing at each galaxy from the psField files of SDSS.)

# %%
for image, seeing in zip(
    galaxy.values(), (1.60, 1.67, 1.37, 1.25, 1.25), strict=True
):
    image.meta["psf_fwhm"] = seeing

run = load_run("sdss-cfhtls", device="cpu")
made = translate(run, galaxy, to="cfht", seeing=0.7 * u.arcsec, planes=True)
[hdu.name for hdu in made]

# %% [markdown]
# The result is an `HDUList`. For each band it has the image in nanomaggies, on CFHTLS pixels of 0.186 arcsec, and beside
# it `SIGNAL` (without noise), `SIGMA` (the standard deviation of the error of each pixel) and `MASK`. Every HDU says
# `SYNTH = T`, so that nobody takes it for an observation.


# %%
def show(axis, planes, pixel_scale, title):
    """Show i, r, g [nanomaggy/pixel] as red, green and blue, with the same stretch for any pixel size."""
    red, green, blue = (plane / pixel_scale**2 for plane in planes)
    axis.imshow(
        make_lupton_rgb(red, green, blue, stretch=1.0, Q=6), origin="lower"
    )
    axis.set_title(title)
    axis.set_axis_off()


figure, axes = plt.subplots(1, 2, figsize=(9, 4.6))
show(axes[0], [galaxy[band].data for band in "irg"], 0.396, "SDSS, observed")
show(axes[1], [made[band].data for band in "irg"], 0.186, "CFHTLS, synthetic")

# %% [markdown]
# ## Is it right?
#
# `CONSIST` is a first test. The translation is seen again through the seeing, pixels and filters of SDSS, and compared
# with the input in units of its noise. About 1 is right. Above 1.5 something is wrong.

# %%
{band: round(made[band].header["CONSIST"], 2) for band in "ugriz"}

# %% [markdown]
# The flux is a second test. This is the light within 3 arcsec of the centre, in AB magnitudes, before and after.


# %%
def magnitude(image, wcs, pixel_scale):
    """Return the AB magnitude of the light within 3 arcsec of the galaxy."""
    col, row = wcs.world_to_pixel_values(
        catalogue["ra"][0], catalogue["dec"][0]
    )
    rows, cols = np.indices(image.shape)
    near = np.hypot(rows - row, cols - col) < 3 / pixel_scale
    return 22.5 - 2.5 * np.log10(image[near].sum())


rows = []
for band in "ugriz":
    before = magnitude(galaxy[band].data, galaxy[band].wcs, 0.396)
    after = magnitude(made[band].data, WCS(made[band].header), 0.186)
    rows.append(
        {"band": band, "SDSS": f"{before:.2f}", "as CFHTLS": f"{after:.2f}"}
    )
Table(rows)

# %% [markdown]
# In *r*, *i* and *z* the two agree. In *g* the galaxy is brighter as CFHTLS sees it, because the *g* filter of MegaCam
# is redder: the published colour term is −0.153 (*g* − *r*), and this galaxy is red. In *u* the noise of SDSS is large:
# a fifth of the flux.
#
# ## The same in the shell
#
# ```sh
# galtrans fetch sdss --catalogue docs/tutorials/data/galaxy.csv --mirror docs/tutorials/data --out sdss.zarr
# galtrans export sdss.zarr --rows 0:1 --out galaxy
# galtrans translate sdss-cfhtls galaxy/*.fits --to cfht --seeing 0.7 --planes --preview --out translated
# ```
#
# Next: [your own FITS files](your_fits.py), or [fetch thousands of galaxies](../how-to/fetch.md).
#
# The images are from SDSS Data Release 12 (run 7264, camera column 3, field 111). SDSS images are free to use with
# [acknowledgement](https://www.sdss.org/collaboration/citing-sdss/).
