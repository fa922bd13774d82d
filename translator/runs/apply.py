"""Images through a trained run, each with noise of its own, whatever others it is passed with and wherever that is."""

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
from translator.observing import Observed
from translator.runs.checkpoint import Run
from translator.runs.device import one_thread
from translator.use import Wanted

MEASURED_AT_ONCE = 256  # images whose noise is measured at once
AT_ONCE = {"cpu": 1, "cuda": 16}  # images that pass the networks at once; a core's caches hold no maps of several


@dataclass(frozen=True)
class Request:
    """What is known of images, and what is asked of their translations; None is unknown, or usual, for all.

    Attributes:
        good: Which pixels may be used (galaxy, band, row, col), bool.
        psf_fwhm: Of stars in the images (galaxy, band) [arcsec], NaN where it is not known.
        sky_sigma: Of a pixel of blank sky, as stores state it (galaxy, band) [nanomaggy/pixel], alike.
        gain: (galaxy, band) [electron/nanomaggy], alike.
        seeing: That translations shall have (galaxy, band) [arcsec], NaN for their survey's usual.
        sigma: Noise of blank sky that they shall have (galaxy, band) [nanomaggy/pixel], NaN for that of any object.
        wanted_gain: That they shall have (galaxy, band) [electron/nanomaggy], NaN for the survey's usual.
        alignment: From the images' grids to those of the translations (galaxy, 2, 3), as of
            `networks.observation_operator`; by default both have one centre and one orientation.
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
        """What concerns some of the galaxies (index or slice)."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Request(**{name: None if value is None else value[galaxies] for name, value in values.items()})


def request_like(stores: dict[str, Store], rows: dict[str, np.ndarray], domain: str, target: np.ndarray) -> Request:
    """What is known of the images of pairs that are translated into `domain`, and what is asked: what the targets have.

    Args:
        stores: "x" and "y".
        rows: Rows (galaxy,) of both.
        domain: "x" or "y", where translations land.
        target: Images of the pairs in `domain` (galaxy, band, row, col) [nanomaggy/pixel].
    """
    here, there = stores[OTHER[domain]], stores[domain]
    of, to = rows[OTHER[domain]], rows[domain]
    stated = there.column("sky_sigma")[to]
    pieces = np.array_split(np.arange(len(target)), -(-len(target) // MEASURED_AT_ONCE))
    sigma = [noise_of(target[piece], stated[piece], there.bands, there.pixel_scale)[0] for piece in pieces]
    return Request(
        psf_fwhm=here.column("psf_fwhm")[of],
        sky_sigma=here.column("sky_sigma")[of],
        gain=here.column("gain")[of],
        seeing=there.column("psf_fwhm")[to],
        sigma=np.concatenate(sigma),
        wanted_gain=there.column("gain")[to],
        alignment=alignment_into(stores, rows, domain),
    )


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
    """Images of the other domain as they would look in `domain`.

    What becomes of an image depends on nothing but itself, what is known and asked of it, its seed and the kind of
    device: not on its company, nor on how many threads there are. Random numbers are drawn on the CPU, hence are the
    same on a GPU.

    Args:
        run: The trained model.
        images: (galaxy, band, row, col) [nanomaggy/pixel]; NaN only for recipes that read any image.
        domain: "x" or "y", where translations land.
        seeds: (galaxy,) of each one's noise.
        noise: Whether the survey's noise is added, and latent codes are drawn; else codes are their mean, 0.
        draw: Whether signals are draws from all that they may be, where the recipe has draws.
        request: What is known and asked; the paper's recipes read images alone.
        at_once: How many pass the networks together, with all threads of PyTorch's; quicker, but the last digits then
            depend on company and threads. By default as above.

    Returns:
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
    """Some images and their request as networks are given them, always `count`: other sizes may take other code."""
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
    """Images that pass the networks together on a device."""
    return AT_ONCE.get(device.type, AT_ONCE["cuda"])


def what_noise(run: Run, domain: str, noise: bool) -> str:
    """The noise of translations into `domain`, in a word: "sampled", where it is wanted and the run has any."""
    return "sampled" if noise and run.use.is_random(run.networks, domain) else "none"


def noise_seed(seed: int, of: str) -> int:
    """A seed for the noise of one image, told from those of others by the text `of`."""
    return int.from_bytes(hashlib.sha256(f"{seed} {of}".encode()).digest()[:8], "big") >> 1
