"""Images through a trained run, each with its own noise, the same in any batch and on any number of processors."""

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from survey_tools.store.zarr_store import Store
from translator.data.conditions import alignment_into, one_centre
from translator.data.survey_measures import noise_of
from translator.images import OTHER, Known
from translator.networks.observation_operator import area, inverse, sample
from translator.observing import Observed
from translator.runs.checkpoint import Run
from translator.runs.device import one_thread
from translator.use import Wanted

MEASURED_AT_ONCE = 256  # images whose noise is measured together
AT_ONCE = {
    "cpu": 1,
    "cuda": 16,
}  # images that pass the networks together: a core's caches hold the maps of one


@dataclass(frozen=True)
class Request:
    """The conditions of images, and those asked of their translations; None stands for unknown, or usual, in all.

    Attributes
    ----------
    good : array of bool, optional
        Whether each pixel may be used (galaxy, band, row, col).
    psf_fwhm : array, optional
        Full width at half maximum of stars in the images (galaxy, band) [arcsec]; NaN if unknown.
    sky_sigma : array, optional
        Noise of a pixel of blank sky, as stores state it (galaxy, band) [nanomaggy/pixel]; NaN if unknown.
    gain : array, optional
        (galaxy, band) [electron/nanomaggy]; NaN if unknown.
    seeing : array, optional
        Seeing that translations shall have (galaxy, band) [arcsec]; NaN for their survey's usual.
    sigma : array, optional
        Noise of blank sky that they shall have (galaxy, band) [nanomaggy/pixel]; NaN for that of a random object.
    wanted_gain : array, optional
        Gain that they shall have (galaxy, band) [electron/nanomaggy]; NaN for the survey's usual.
    alignment : array, optional
        From the images' grids to those of the translations (galaxy, 2, 3), in the form of
        `networks.observation_operator`; by default both have the same centre and orientation.
    """

    good: np.ndarray | None = None
    psf_fwhm: np.ndarray | None = None
    sky_sigma: np.ndarray | None = None
    gain: np.ndarray | None = None
    seeing: np.ndarray | None = None
    sigma: np.ndarray | None = None
    wanted_gain: np.ndarray | None = None
    alignment: np.ndarray | None = None

    def take(self, galaxies) -> "Request":
        """Return the part of the request for some galaxies (index or slice)."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Request(**{name: None if value is None else value[galaxies] for name, value in values.items()})


def request_like(stores: dict[str, Store], rows: dict[str, np.ndarray], domain: str, target: np.ndarray) -> Request:
    """Return the request for pairs that are translated into `domain`: translations shall be like their targets.

    Parameters
    ----------
    stores : dict
        Stores "x" and "y".
    rows : dict
        Rows (galaxy,) of both.
    domain : str
        "x" or "y", where translations land.
    target : array
        Images of the pairs in `domain` (galaxy, band, row, col) [nanomaggy/pixel].
    """
    here, there = stores[OTHER[domain]], stores[domain]
    of, to = rows[OTHER[domain]], rows[domain]
    stated = there.take("sky_sigma", to)
    pieces = np.array_split(np.arange(len(target)), -(-len(target) // MEASURED_AT_ONCE))
    sigma = [noise_of(target[piece], stated[piece], there.bands, there.pixel_scale)[0] for piece in pieces]
    return Request(
        psf_fwhm=here.take("psf_fwhm", of),
        sky_sigma=here.take("sky_sigma", of),
        gain=here.take("gain", of),
        seeing=there.take("psf_fwhm", to),
        sigma=np.concatenate(sigma),
        wanted_gain=there.take("gain", to),
        alignment=alignment_into(stores, rows, domain),
    )


def resampled(source: np.ndarray, alignment: np.ndarray, size: int) -> np.ndarray:
    """Return images after bilinear interpolation onto other grids: the same sky, with the same flux.

    Where a new grid extends beyond the image, the outermost pixels are repeated.

    Parameters
    ----------
    source : array
        Images (galaxy, band, row, col).
    alignment : array
        Alignment from their grids to the new ones (galaxy, 2, 3), as in `networks.observation_operator`.
    size : int
        Rows, and columns, of the new grids.
    """
    led = torch.from_numpy(np.ascontiguousarray(alignment, np.float32))
    image = torch.from_numpy(np.ascontiguousarray(source, np.float32))
    return (sample(image, inverse(led), (size, size)) / area(led)).numpy()


def translate_each(
    run: Run,
    images: np.ndarray,
    domain: str,
    seeds: list[int],
    *,
    noise: bool,
    draw: bool = False,
    request: Request | None = None,
    at_once: int | None = None,
) -> np.ndarray:
    """Return images of the other domain as they would look in `domain`.

    The translation of an image depends only on the image, its request, its seed and the kind of device: not on the
    other images, nor on the number of threads. Random numbers are drawn on the CPU, so they are the same on a GPU.

    Parameters
    ----------
    run : Run
        The trained model.
    images : array
        (galaxy, band, row, col) [nanomaggy/pixel]; NaN is allowed only for recipes that read any image.
    domain : str
        "x" or "y", where translations land.
    seeds : list of int
        Seed of each image's noise (galaxy,).
    noise : bool
        Whether the survey's noise is added and latent codes are drawn; otherwise codes are their mean, 0.
    draw : bool
        Whether signals are random draws of all possible ones, if the recipe has draws.
    request : Request, optional
        Conditions of the images and of the translations; the paper's recipes read images alone.
    at_once : int, optional
        How many images pass the networks together, with all of PyTorch's threads. This is quicker, but the last digits
        then depend on the other images and on the threads.

    Returns
    -------
    array
        (galaxy, band, row, col) float64 [nanomaggy/pixel] on the grid of `domain`; NaN where a pixel would rest on too
        little of the image.
    """
    here, request = run.domains[domain], request or Request()
    step = at_once or together_on(run.device)
    made = np.empty((len(images), len(here.bands), here.size, here.size))
    with torch.no_grad(), nullcontext() if at_once else one_thread(run.device):
        for start in range(0, len(images), step):
            some = slice(start, min(start + step, len(images)))
            observed, wanted = _asked(run, images[some], request.take(some), domain, step)
            wanted = replace(wanted, noise=noise and run.use.is_random(run.networks, domain), draw=draw)
            randoms = [torch.Generator().manual_seed(seed) for seed in (seeds[some] + [0] * step)[:step]]
            found = run.use.translate(run.networks, observed, wanted, randoms)
            made[some] = torch.where(found.good, found.image, torch.nan)[: some.stop - some.start].numpy()
    return made


def _asked(run: Run, images: np.ndarray, request: Request, domain: str, count: int) -> tuple[Observed, Wanted]:
    """Return some images and their request as networks read them, always `count`: other numbers may take other code."""
    here, there = run.domains[OTHER[domain]], run.domains[domain]
    ratio = here.pixel_scale / there.pixel_scale
    alignment = request.alignment
    if alignment is None:
        alignment = np.broadcast_to(one_centre(ratio), (len(images), 2, 3))

    def tensor(values: np.ndarray | None, dtype: torch.dtype = torch.float32) -> Tensor:
        values = np.full(images.shape[:2], np.nan) if values is None else np.asarray(values)
        values = np.concatenate([values, values[-1:].repeat(count - len(values), axis=0)])
        return torch.from_numpy(np.ascontiguousarray(values)).to(run.device, dtype)

    there_is = np.isfinite(images)
    good = there_is if request.good is None else request.good & there_is
    known = Known(tensor(request.psf_fwhm), tensor(request.sky_sigma), tensor(request.gain))
    observed = Observed(tensor(np.where(there_is, images, 0.0), torch.float64), tensor(good, torch.bool), known)
    wanted = Wanted(
        domain=domain,
        shape=(there.size, there.size),
        pixel_scale=there.pixel_scale,
        alignment=tensor(alignment),
        seeing=tensor(request.seeing),
        sigma=tensor(request.sigma),
        gain=tensor(request.wanted_gain),
    )
    return observed, wanted


def together_on(device: torch.device) -> int:
    """Return how many images pass the networks together on a device."""
    return AT_ONCE.get(device.type, AT_ONCE["cuda"])


def what_noise(run: Run, domain: str, noise: bool) -> str:
    """Return the noise of translations into `domain` in a word: "sampled" if it is wanted and the run has any, else
    "none".
    """
    return "sampled" if noise and run.use.is_random(run.networks, domain) else "none"


def noise_seed(seed: int, of: str) -> int:
    """Return a seed for the noise of one image; the text `of` makes it differ from those of other images."""
    return int.from_bytes(hashlib.sha256(f"{seed} {of}".encode()).digest()[:8], "big") >> 1
