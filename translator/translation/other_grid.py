"""Put translations onto a grid that the model cannot make: that of another file, of any pixel scale and projection.

A model translates onto plain pixels of its survey's scale. Here such a translation is resampled onto the pixels that
are wanted (`cutout.resample`, which keeps flux), and the change of its noise is computed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from astropy.io import fits
from astropy.wcs import WCS

from survey_tools.images.cutout import resample
from survey_tools.images.sky_wcs import local_scale, pixels_of, places_of, rescaled_wcs, tan_terms, tan_wcs
from translator.networks.measured_survey import MeasuredSurvey
from translator.translation.whole_images import SkyGrid

BORDER = 6  # pixels of the model's grid around the wanted ones, for the interpolation
TRIED = 96  # side of the part of the wanted grid on which the noise is tried [pixel]
TRIED_BENEATH = 1200  # largest side of the part beneath it [pixel]
TRIALS = 4  # fields of noise that are tried
COARSEST = 50  # largest side of wanted pixels, in units of the side of a pixel of the translation
EDGE = 101  # points along each side of a grid; it is taken as straight between them


@dataclass(frozen=True)
class OtherGrid:
    """The pixels that are wanted, and the plain pixels beneath them onto which a model translates.

    Attributes
    ----------
    wcs : WCS
        WCS of the pixels that are wanted, with everything that it states.
    shape : tuple of int
        Their rows and columns.
    cards : tuple of Card
        Cards of the header that state the WCS.
    beneath : SkyGrid
        Pixels of the model's scale that cover all of them.
    """

    wcs: WCS
    shape: tuple[int, int]
    cards: tuple[fits.Card, ...]
    beneath: SkyGrid

    @classmethod
    def over(
        cls, wcs: WCS, shape: tuple[int, int], cards, pixel_scale: float, *, within: SkyGrid | None = None
    ) -> "OtherGrid":
        """Return the grid `wcs` of `shape`, over plain pixels of `pixel_scale` with the same centre and orientation.

        Parameters
        ----------
        wcs : WCS
            The grid that is wanted.
        shape : tuple of int
            Its rows and columns.
        cards : sequence of Card
            Cards that state it.
        pixel_scale : float
            Side of the pixels beneath [arcsec].
        within : SkyGrid, optional
            A grid; the pixels beneath do not reach beyond it.

        Raises
        ------
        ValueError
            If the pixels are too coarse, the edges are not on the sky, or the grids do not overlap.
        """
        ratio = local_scale(wcs, shape) / pixel_scale
        if not ratio < COARSEST:
            raise ValueError(
                f"its pixels are {ratio:.3g} times as large as those of a translation, and up to {COARSEST} "
                "are possible"
            )
        plain = rescaled_wcs(wcs, shape, pixel_scale, (1, 1))
        low, high = _extent(plain, wcs, shape)
        reach = np.maximum(np.abs(low), np.abs(high))
        first, last = -reach, reach
        if within is not None:
            low, high = _extent(plain, tan_wcs(within.crval, within.crpix, within.cd), within.shape)
            first, last = np.maximum(first, low), np.minimum(last, high)
            if not (first <= last).all():
                raise ValueError("it lies beside the image that is translated")
        first, last = np.floor(first) - BORDER, np.ceil(last) + BORDER
        size = tuple(int(each) for each in (last - first + 1)[::-1])
        crval, crpix, cd = tan_terms(plain)
        return cls(wcs, shape, tuple(cards), SkyGrid(crval, crpix - first, cd, size))

    @property
    def plain(self) -> WCS:
        """The WCS of the pixels beneath."""
        return tan_wcs(self.beneath.crval, self.beneath.crpix, self.beneath.cd)

    @property
    def ratio(self) -> float:
        """The area of a wanted pixel, in pixels of those beneath."""
        return (local_scale(self.wcs, self.shape) / self.beneath.pixel_scale) ** 2

    def flux(self, images: np.ndarray) -> np.ndarray:
        """Return images (band, row, col) [flux/pixel] of the pixels beneath on the wanted pixels, as float32."""
        return np.stack([resample(image, self.plain, self.wcs, self.shape) for image in images])

    def variance(self, images: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Return variances (band, row, col) of noise on the wanted pixels; the standard deviation changes by `factor`
        (band,).
        """
        return self.flux(images) / self.ratio * factor[:, None, None] ** 2

    def noise_factor(self, survey: MeasuredSurvey) -> np.ndarray:
        """Return the factor (band,) by which the noise of a pixel changes, from a trial with noise as correlated as the
        survey's.
        """
        most = max(1, min(TRIED, int(TRIED_BENEATH * self.beneath.pixel_scale / local_scale(self.wcs, self.shape))))
        shape = tuple(min(side, most) for side in self.shape)
        start = [(whole - part) // 2 for whole, part in zip(self.shape, shape, strict=True)]
        part = self.wcs[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]
        small = OtherGrid.over(part, shape, (), self.beneath.pixel_scale)
        random, tried = torch.Generator().manual_seed(0), []
        for _ in range(TRIALS):
            white = torch.randn(1, len(survey.psf_fwhm), *small.beneath.shape, generator=random)
            tried.append(small.flux(survey.correlated(white.to(survey.correlation.device))[0].cpu().numpy()))
        return np.nanstd(np.stack(tried), axis=(0, 2, 3))


def _extent(plain: WCS, wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest pixel (2,) of a grid `plain` at the edges of another grid of `shape`.

    ValueError if none of its edges is on that half of the sky.
    """
    rows, cols = (np.linspace(-0.5, side - 0.5, EDGE) for side in shape)
    around = [np.column_stack([cols, np.full(EDGE, row)]) for row in (rows[0], rows[-1])]
    around += [np.column_stack([np.full(EDGE, col), rows]) for col in (cols[0], cols[-1])]
    found = pixels_of(plain, places_of(wcs, np.concatenate(around)))
    found = found[np.isfinite(found).all(axis=1)]
    if not len(found):
        raise ValueError("it lies beside the image that is translated")
    return found.min(axis=0), found.max(axis=0)
