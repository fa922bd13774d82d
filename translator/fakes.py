"""Images through a trained run, each with noise of its own, whatever others it is passed with and wherever that is."""

import copy
import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from translator.checkpoint import Run
from translator.device import one_thread
from translator.images import is_random
from translator.intensity import stretch, unstretch

AT_ONCE = {"cpu": 1, "cuda": 16}  # images that pass the networks at once; a core's caches hold no maps of several


def translate_each(run: Run, images: np.ndarray, domain: str, seeds: list[int], *, noise: bool) -> np.ndarray:
    """Images of the other domain as they would look in `domain`.

    What becomes of an image depends on nothing but itself, its seed and the kind of device: not on its company, nor on
    how many threads there are. Noise is drawn on the CPU, hence is the same on a GPU.

    Args:
        run: The trained model.
        images: (galaxy, band, row, col) [nanomaggy/pixel], without NaN.
        domain: "x" or "y", where translations land.
        seeds: (galaxy,) of each one's noise.
        noise: Whether the survey's noise is added, and latent codes are drawn; else codes are their mean, 0.

    Returns:
        (galaxy, band, row, col) float64 [nanomaggy/pixel] on the grid of `domain`.
    """
    here = run.domains[domain]
    step = together_on(run.device)
    made = np.empty((len(images), len(here.bands), here.size, here.size))
    emulator, encoder = (_on_cpu(run.networks[f"{role}_{domain}"]) for role in ("emulator", "encoder"))
    noise = noise and is_random(run.networks, domain)
    with torch.no_grad(), one_thread(run.device):
        for start in range(0, len(images), step):
            some = slice(start, min(start + step, len(images)))
            stretched = torch.as_tensor(stretch(np.asarray(images[some], float)), dtype=torch.float32)
            randoms = [torch.Generator().manual_seed(seed) for seed in seeds[some]]
            codes = [encoder.draw(1, random) for random in randoms]
            latent = None if codes[0] is None else torch.cat(codes)
            if latent is not None and not noise:
                latent = torch.zeros_like(latent)
            fakes = run.networks[f"generator_{domain}"](_filled(stretched, step, run), _filled(latent, step, run))
            fakes = fakes[: len(stretched)].cpu()
            if noise:
                fakes = torch.cat(
                    [fake + emulator(1, each) for fake, each in zip(fakes.split(1), randoms, strict=True)]
                )
            made[some] = unstretch(fakes.double().numpy())
    return made


def together_on(device: torch.device) -> int:
    """Images that pass the networks together on a device."""
    return AT_ONCE.get(device.type, AT_ONCE["cuda"])


def what_noise(run: Run, domain: str, noise: bool) -> str:
    """The noise of translations into `domain`, in a word: "sampled", where it is wanted and the run has any."""
    return "sampled" if noise and is_random(run.networks, domain) else "none"


def noise_seed(seed: int, of: str) -> int:
    """A seed for the noise of one image, told from those of others by the text `of`."""
    return int.from_bytes(hashlib.sha256(f"{seed} {of}".encode()).digest()[:8], "big") >> 1


def _filled(some: Tensor | None, count: int, run: Run) -> Tensor | None:
    """A batch of always `count`, filled up with zeros, on the run's device: other sizes may take other code there."""
    if some is None:
        return None
    return torch.cat([some, some.new_zeros(count - len(some), *some.shape[1:])]).to(run.device)


def _on_cpu(network: nn.Module) -> nn.Module:
    """A network where random numbers are drawn."""
    there = next(network.parameters(), torch.zeros(()))
    return network if there.device.type == "cpu" else copy.deepcopy(network).cpu()
