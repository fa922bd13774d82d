# %% [markdown]
# # Train on your own pair of surveys
#
# A model needs images of two surveys, and some galaxies that both have seen. This tutorial simulates a small sky that
# SDSS and CFHTLS see, so that it runs anywhere and the truth is known. It trains the recipe `psf_matched` on it for a
# minute, translates galaxies that the training never saw, and measures the result. With your own surveys, the stores come
# from [`fetch`](../how-to/fetch.md), [`ingest`](../how-to/ingest.md) or [an archive of your own](../how-to/add_a_survey.md), and
# everything after that is the same. Run it anywhere.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import make_lupton_rgb

from survey_tools import crossmatch, open_store, simulate
from translator import evaluate, train, translate

work = Path(tempfile.mkdtemp())  # where this tutorial writes

# %% [markdown]
# ## Two stores
#
# `simulate` draws 40 objects for each survey; both surveys see 60 % of them. Each survey has its own seeing, pixels,
# filters and noise. `truth` has the same images without noise.

# %%
simulate(work / "sky", galaxies=40, overlap=0.6, bands="gri", seed=1)
x, y = (
    open_store(work / "sky" / "sdss.zarr"),
    open_store(work / "sky" / "cfht.zarr"),
)
len(x), x.images.shape, y.images.shape

# %% [markdown]
# Always call the survey with the larger pixels *x* and the other *y*. The stores say what the model has to know of
# each image: seeing, noise and gain.

# %%
x.catalogue["object_id", "redshift", "psf_fwhm", "sky_sigma"][:3]

# %% [markdown]
# ## Pairs
#
# `crossmatch` finds the rows that are the same galaxy. It keeps some pairs for tests, and the training never sees them.

# %%
pairs = crossmatch(x, y, test_size=3)
pairs[:3]


# %%
def show(axis, planes, pixel_scale, title):
    """Show i, r, g [nanomaggy/pixel] as red, green and blue, with the same stretch for any pixel size."""
    red, green, blue = (
        np.nan_to_num(plane) / pixel_scale**2 for plane in planes
    )
    axis.imshow(
        make_lupton_rgb(red, green, blue, stretch=2.0, Q=6), origin="lower"
    )
    axis.set_title(title)
    axis.set_axis_off()


figure, axes = plt.subplots(2, 4, figsize=(11, 5.8))
for (above, below), pair in zip(axes.T, pairs, strict=False):
    show(above, x.images[int(pair["x_row"])][::-1], x.pixel_scale, "SDSS")
    show(below, y.images[int(pair["y_row"])][::-1], y.pixel_scale, "CFHTLS")

# %% [markdown]
# ## Train
#
# `psf_matched` has three steps: the operator, which computes what SDSS sees of a CFHTLS image; the restoration, which is
# the way back; and draws, for the uncertainty. The full training has 1,200, 4,500 and 900 iterations at width 48, and
# takes an hour on two cores. Here the networks are narrow and the training is short.

# %%
run = train(
    x,
    y,
    pairs,
    recipe="psf_matched",
    run=work / "run",
    width=16,
    iterations=(60, 100, 4),
    batch_size=4,
    device="cpu",
    tell=print,
)

# %% [markdown]
# Ctrl-C stops a training, and the same call with `resume=True` continues it. A run is a folder: `load_run(folder)` opens
# it later, and `galtrans translate` takes it.
#
# ## Look at galaxies that the training never saw

# %%
test = pairs[pairs["split"] == "test"]
truth = open_store(work / "sky" / "truth" / "cfht.zarr")
figure, axes = plt.subplots(3, 3, figsize=(8.5, 8.7))
for column, pair in zip(axes.T, test, strict=False):
    row, other = int(pair["x_row"]), int(pair["y_row"])
    made = translate(run, x[row], to="cfht", noise=False)
    show(column[0], x.images[row][::-1], x.pixel_scale, "SDSS")
    show(
        column[1],
        [made[band].data for band in "irg"],
        y.pixel_scale,
        "restored",
    )
    show(
        column[2],
        truth.images[other][::-1],
        y.pixel_scale,
        "truth (CFHTLS, no noise)",
    )

# %% [markdown]
# After so short a training the restored galaxies are only somewhat sharper than the input.
#
# ## Measure
#
# `evaluate` compares the translations of all test galaxies with the real images and the truth, and with two references
# without learning: bilinear interpolation and the Wiener filter. It writes a page, `report.html`, and returns tables.

# %%
report = evaluate(
    run,
    x,
    y,
    pairs,
    truth=work / "sky" / "truth",
    out=work / "report",
    draws=2,
    device="cpu",
)
report.tables["verdict"]

# %% [markdown]
# In `verdict` each row compares a run with another run or a reference: in how many measures it is closer to the perfect
# value, farther from it, or alike within the intervals. `measures` has every number. This is the residual of the signal
# against the truth in the r band, towards CFHTLS: 0 is perfect, and 1 means that nothing of the galaxy is right.

# %%
table = report.tables["measures"]
chosen = (table["measure"] == "signal_residual") & (table["band"] == "r")
chosen &= table["direction"] == "sdss_to_cfht"
table[chosen]["run", "value", "low", "high", "perfect"]

# %% [markdown]
# After so short a training the residual is about that of bilinear interpolation. The full training of an hour reaches
# 0.07 ([results](../explanation/results.md)).
#
# ## The same in the shell
#
# ```sh
# galtrans simulate --galaxies 40 --overlap 0.6 --bands gri --seed 1 --out sky
# galtrans crossmatch sky/sdss.zarr sky/cfht.zarr --test-size 3 --out pairs.ecsv
# galtrans train sky/sdss.zarr sky/cfht.zarr pairs.ecsv --recipe psf_matched --width 16 --iterations 60,100,4 --batch-size 4 --run run
# galtrans evaluate run sky/sdss.zarr sky/cfht.zarr pairs.ecsv --truth sky/truth --out report
# ```
#
# Next: [what the measures mean](../explanation/report_card.md), [how good a full training is](../explanation/results.md),
# and [training with several processes](../how-to/several_processes.md).
