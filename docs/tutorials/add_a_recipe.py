# %% [markdown]
# # Add a recipe
#
# A recipe says which networks a model has, and which losses train them in which order. This tutorial writes a recipe
# with a loss of its own, in a module outside the package, trains it on a small simulated sky, and uses the result. Run it
# anywhere.

# %%
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from survey_tools import crossmatch, open_store, simulate
from translator import describe_recipe, load_run, train, translate

work = Path(tempfile.mkdtemp())  # where this tutorial writes

# %% [markdown]
# ## The module
#
# The networks are those of the paper's method (a), but only its generators, started as a blur of their input. Two losses
# train them on pairs: `identity` is the paper's (the translation must be the counterpart), and `flux` is new (the
# translation must have the flux of the counterpart).
#
# A loss is a function of `images` and a domain. `images` makes what a loss asks for, by name: `images.paired(domain)` is
# the translation of a pair into the domain, and `images.target(domain)` the real image there. The decorator says that
# the loss reads pairs.

# %%
(work / "my_recipes.py").write_text('''
import torch.nn.functional as F

from translator.intensity import unstretch
from translator.losses import identity, reads_pairs
from translator.networks.generator import generator
from translator.recipes import Recipe, Step, Turn, both, moves, quickly


@reads_pairs
def flux(images, domain):
    """<(f(G(p')) - f(p))^2>, f the square root of the flux of a band in nanomaggies, or of 0.01 where it is less."""
    ours, theirs = (
        unstretch(image).sum((-2, -1)).clamp(min=0.01).sqrt()
        for image in (images.paired(domain), images.target(domain))
    )
    return F.mse_loss(ours, theirs)


def recipe(title, terms):
    """Generators that learn from pairs alone, under these terms."""
    turn = Turn(moves("generator"), terms, learning_rate=1e-3)
    return Recipe(title, {"generator": quickly(generator)}, (Step((turn,), iterations=60),), batch_size=4, width=4)


PLAIN = recipe("pairs alone", both(identity, 10.0))
FLUX_KEPT = recipe("pairs alone, flux kept", both(identity, 10.0) + both(flux, 0.1))
''')
sys.path.insert(0, str(work))
from my_recipes import FLUX_KEPT, PLAIN

summary = describe_recipe(FLUX_KEPT)
summary.steps, summary.parameters

# %% [markdown]
# `both(loss, weight)` puts a loss into both directions. `Turn` says which networks move under which losses, and `Step`
# for how many iterations. A model with several turns plays them one after the other in each iteration.
#
# ## Train
#
# Before a training begins, each loss is called once on two images, so a mistake in a loss shows at once.

# %%
simulate(work / "sky", galaxies=32, overlap=0.8, bands="gr", seed=2)
x, y = (
    open_store(work / "sky" / "sdss.zarr"),
    open_store(work / "sky" / "cfht.zarr"),
)
pairs = crossmatch(x, y, test_size=8)
runs = {
    name: train(
        x, y, pairs, recipe=recipe, run=work / name, device="cpu", seed=1
    )
    for name, recipe in (("plain", PLAIN), ("flux_kept", FLUX_KEPT))
}

# %% [markdown]
# ## Compare
#
# This is the flux of each test galaxy after the translation, over the flux of its counterpart in CFHTLS.


# %%
def flux_ratios(run):
    """Return the flux of translations over that of the real images, for each test pair and band."""
    ratios = []
    for pair in pairs[pairs["split"] == "test"]:
        made = translate(run, x[int(pair["x_row"])], to="cfht")
        real = y.images[int(pair["y_row"])]
        ratios.append(
            [
                made[band].data.sum() / image.sum()
                for band, image in zip(y.bands, real, strict=True)
            ]
        )
    return np.array(ratios)


figure, axis = plt.subplots(figsize=(6, 3.2))
for name, run in runs.items():
    ratios = flux_ratios(run)
    axis.plot(
        ratios[:, 1],
        "o-",
        label=f"{name}: standard deviation {ratios[:, 1].std():.2f} in r",
    )
axis.axhline(1, color="0.5", lw=1)
axis.set_xlabel("test galaxy")
axis.set_ylabel("flux, translated / real")
_ = axis.legend()

# %% [markdown]
# With the loss on the flux, the flux of the translations scatters less, even after so short a training. A fair comparison
# of two recipes needs longer trainings and more galaxies: see [the report card](../explanation/report_card.md).
#
# A run remembers the module and the name of its recipe, and opens by its folder wherever Python finds the module.

# %%
again = load_run(work / "flux_kept", device="cpu")
again.recipe

# %% [markdown]
# On the command line a recipe is called by its module and its name:
#
# ```sh
# galtrans train sdss.zarr cfht.zarr pairs.ecsv --recipe my_recipes:FLUX_KEPT --run runs/flux_kept
# ```
#
# Next: [add a recipe](../how-to/add_a_recipe.md) has the rules, and [recipes](../reference/recipes.md) lists the networks and
# losses that you can combine.
