# %% [markdown]
# # Your own FITS files, through the shipped model
#
# This tutorial translates FITS files with the model that comes with galtrans. It uses pieces of five real SDSS frames,
# one file for each band, as an observer has them: bands on different grids, north not up, compressed. Use your own
# files in their place. Run it in the repository or in `docs/tutorials`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from astropy.wcs import WCS

from survey_tools.errors import GaltransError
from translator import load_run, translate

data = Path("docs/tutorials/data") if Path("docs").exists() else Path("data")
frames = sorted(data.rglob("frame-*.fits.bz2"))
[path.name for path in frames]

# %% [markdown]
# ## One call
#
# Files whose names differ only in the letter of the band are one object. `at` selects the part around a position, and
# without it the whole image is translated. Lines that begin with the name of a file say what had to be assumed.

# %%
run = load_run("sdss-cfhtls", device="cpu")
place = SkyCoord(38.57159, -7.09912, unit="deg")
made = translate(
    run, frames, to="cfht", at=place, seeing=0.7 * u.arcsec, planes=True
)
(
    made[0].header["GTFLAGS"],
    made["r"].header["CONSIST"],
    made["r"].header["PSFINBY"],
)

# %% [markdown]
# The flag says that the seeing of the input is not known: the files do not state it, and they are too small to measure
# it on stars. So the model assumed the usual seeing of SDSS.
#
# A file can state the seeing with the keyword `PSFFWHM`. Here we open the files, add it, and translate them in memory.


# %%
def with_seeing(paths, seeing):
    """Return the files, opened, with PSFFWHM [arcsec] in each header."""
    opened = []
    for path, width in zip(paths, seeing, strict=True):
        with fits.open(path, memmap=False) as hdus:
            hdus[0].header["PSFFWHM"] = width
            opened.append(
                fits.HDUList([fits.PrimaryHDU(hdus[0].data, hdus[0].header)])
            )
    return opened


stated = with_seeing(
    frames, (1.67, 1.25, 1.37, 1.60, 1.25)
)  # in g, i, r, u, z, the order of the files
made = translate(
    run, stated, to="cfht", at=place, seeing=0.7 * u.arcsec, planes=True
)
(
    made[0].header["GTFLAGS"],
    made["r"].header["CONSIST"],
    made["r"].header["PSFINBY"],
)


# %%
def show(axis, planes, pixel_scale, title):
    """Show i, r, g [nanomaggy/pixel] as red, green and blue, with the same stretch for any pixel size."""
    red, green, blue = (
        np.nan_to_num(plane) / pixel_scale**2 for plane in planes
    )
    axis.imshow(
        make_lupton_rgb(red, green, blue, stretch=1.0, Q=6), origin="lower"
    )
    axis.set_title(title)
    axis.set_axis_off()


figure, axes = plt.subplots(1, 3, figsize=(12, 4.2))
show(
    axes[0],
    [made[band].data for band in "irg"],
    0.186,
    "image: best guess + noise",
)
show(
    axes[1],
    [made[f"SIGNAL_{band}"].data for band in "irg"],
    0.186,
    "SIGNAL: best guess",
)
show(
    axes[2],
    [5 * made[f"SIGMA_{band}"].data for band in "irg"],
    0.186,
    "5 × SIGMA: standard deviation",
)

# %% [markdown]
# ## Other seeing, other depth, fewer bands
#
# You choose the seeing and the depth of the result. The model also works with some of its bands: here *gri*. A line says
# so if you ask for more than the model was trained for, as the last of the three pictures does.

# %%
gri = [
    hdus
    for hdus, path in zip(stated, frames, strict=True)
    if path.name.split("-")[1] in "gri"
]
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2))
for axis, seeing, depth in zip(
    axes, (0.6, 0.9, 0.6), (None, None, "24.5mag"), strict=True
):
    result = translate(
        run, gri, to="cfht", at=place, seeing=seeing * u.arcsec, depth=depth
    )
    title = f"seeing {seeing} arcsec" + (
        f", 5σ depth {depth}" if depth else ""
    )
    show(axis, [result[band].data for band in "irg"], 0.186, title)

# %% [markdown]
# ## How certain is a number?
#
# A *draw* is one galaxy that fits the input. Measure on each of several draws: the scatter is the uncertainty of your
# measurement. Here it is the magnitude in r within 2 arcsec.

# %%
result = translate(
    run,
    stated,
    to="cfht",
    at=place,
    seeing=0.7 * u.arcsec,
    draws=8,
    noise=False,
)
draws = result["DRAWS_r"].data
col, row = WCS(result["r"].header).world_to_pixel_values(
    place.ra.deg, place.dec.deg
)
rows, cols = np.indices(draws.shape[1:])
near = np.hypot(rows - row, cols - col) < 2 / 0.186
magnitudes = 22.5 - 2.5 * np.log10(draws[:, near].sum(axis=1))
f"r = {magnitudes.mean():.3f} ± {magnitudes.std(ddof=1):.3f}"

# %% [markdown]
# ## If a file is not accepted
#
# galtrans never guesses a unit. Without `BUNIT` or a zero point, the file is refused, and the message says what to do.

# %%
pixels, header = fits.getdata(frames[2]), fits.getheader(frames[2])
del header["BUNIT"]
silent = fits.HDUList([fits.PrimaryHDU(pixels, header)])
try:
    translate(run, silent, to="cfht")
except GaltransError as error:
    print(error)

# %%
result = translate(run, silent, to="cfht", unit="nanomaggy")
result["r"].shape

# %% [markdown]
# An array works as well, with its WCS: `translate(run, (array, wcs), to="cfht", bands="r", unit="nanomaggy")`.
#
# To keep a result, write it: `made.writeto("galaxy_cfht.fits")`. With `out="folder"`, `translate` reads many files and
# writes one result for each, as the command does:
#
# ```sh
# galtrans translate sdss-cfhtls frame-*.fits.bz2 --to cfht --at 38.57159 -7.09912 --seeing 0.7 --planes --out translated
# ```
#
# More: [translate your own images](../how-to/translate.md), [calibration](../how-to/calibration.md),
# [how good the model is](../explanation/shipped_model.md), and a [gallery](../explanation/gallery.md) that also shows the
# worst cases.
