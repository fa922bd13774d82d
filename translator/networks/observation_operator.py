"""The poorer survey's view of the richer survey's image: seeing, pixels and filters as one linear operator.

Images are (B, band, row, col) in nanomaggy/pixel, `fwhm` (B, band) in arcsec. An `alignment` (B, 2, 3) leads from a
place on the poorer survey's grid to the same place of the sky on the richer one's: row and column, each counted from
the centre of its image in its own pixels, are multiplied by the matrix [..., :2] and then moved by [..., 2].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from translator.networks.layers import Grid

PAD = 5.2  # [arcsec] by which an image is continued at its edges, so that the Fourier transform wraps no light into it
FINER = 2  # a blurred image has this many times as many pixels a side when it is sampled
SMALLEST = 1e-6  # [1/arcsec] added to a frequency, so that its power can be differentiated at 0


def is_richer(here: Grid, there: Grid) -> bool:
    """Return whether `here` has the finer images of two surveys: by seeing and pixels together, or else by less noise.

    Seeing counts if it is known of both surveys. ValueError if nothing tells the two apart.
    """
    seeing = [_seeing(grid) for grid in (here, there)]
    seeing = seeing if all(seeing) else [0.0, 0.0]
    blur = [(grid.pixel_scale**2 + width**2) ** 0.5 for grid, width in zip((here, there), seeing, strict=True)]
    if abs(blur[0] / blur[1] - 1) > 1e-3:
        return blur[0] < blur[1]
    noise = [sum(grid.sky) / grid.pixel_scale**2 for grid in (here, there)]
    if here.sky and there.sky and noise[0] != noise[1]:
        return noise[0] < noise[1]
    raise ValueError("both stores have the same seeing, pixels and noise, so that neither can be made from the other")


def _seeing(grid: Grid) -> float:
    """Return the full width at half maximum of stars [arcsec], the median over bands; 0 if unknown."""
    known = sorted(width for width in grid.psf_fwhm if width > 0)
    return known[len(known) // 2] if known else 0.0


def sample(image: Tensor, alignment: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return values of an image at the pixels of another grid, bilinear, (B, C, H, W) -> (B, C, *size).

    Beyond the image, its edge pixels are repeated. The result has the precision of both inputs: in float32, places in
    an image of some hundred pixels are good to 1e-5 of a pixel.

    Parameters
    ----------
    image : Tensor
        The image to read.
    alignment : Tensor
        From the new grid to the image's (B, 2, 3).
    size : int or tuple of int
        Rows and columns of the new grid; one number if it is square.
    """
    size = (size, size) if isinstance(size, int) else size
    half = torch.tensor(image.shape[-2:], device=image.device) / 2
    place = (places(alignment, size) / half).flip(-1)
    return F.grid_sample(image, place, mode="bilinear", padding_mode="border", align_corners=False)


def places(alignment: Tensor, size: tuple[int, int]) -> Tensor:
    """Return row and column, from the image's centre, of each pixel of a new grid (B, *size, 2)."""
    rows, cols = (torch.arange(side, device=alignment.device, dtype=alignment.dtype) - (side - 1) / 2 for side in size)
    matrix, offset = alignment[..., :2], alignment[..., 2]
    return (
        matrix[:, None, None, :, 0] * rows[:, None, None]
        + matrix[:, None, None, :, 1] * cols[:, None]
        + offset[:, None, None]
    )


def inverse(alignment: Tensor) -> Tensor:
    """Return the alignment in the other direction."""
    matrix = torch.linalg.inv(alignment[..., :2])
    return torch.cat([matrix, -matrix @ alignment[..., 2:]], -1)


def area(alignment: Tensor) -> Tensor:
    """Return how many pixels of the second grid an alignment puts into a pixel of the first (B, 1, 1, 1)."""
    return torch.linalg.det(alignment[..., :2]).abs()[:, None, None, None]


BAND_AXES = {  # of each parameter: the axis of the bands, and how many entries in a row one band has
    "poorer": ((0, 1),),
    "richer": ((0, 1),),
    "powers": ((1, 1),),
    "rest": ((0, 1),),
    "colour": ((0, 1), (1, 1)),
}


def turns(alignment: Tensor) -> Tensor:
    """Return whether alignments (B, 2, 3) turn or shear (B,), by more than 1e-6 pixels in a thousand."""
    return (alignment[:, 0, 1].abs() > 1e-9) | (alignment[:, 1, 0].abs() > 1e-9)


def _reading(ratio: float, offset: float, axis: int, side: int, pad: int, count: int) -> Tensor:
    """Return the matrix (count, frequency), complex, that makes samples along one axis from a blurred image's
    frequencies.

    Parameters
    ----------
    ratio, offset : float
        Of the alignment along this axis, from the pixels of the samples to those of the image.
    axis : int
        0 for rows, with all frequencies; 1 for columns, with those of the half plane.
    side, pad : int
        Pixels of the image along the axis, and how many of these were added at each end.
    count : int
        Number of samples.
    """
    frequency = torch.arange(side // 2 + 1 if axis else side).double()
    if not axis:
        frequency[(side + 1) // 2 :] -= side
    last = FINER * (side - 2 * pad - 1)  # of the finer pixels, from the centre of the first pixel to that of the last
    place = FINER * (ratio * (torch.arange(count).double() - (count - 1) / 2) + offset) + last / 2
    place = place.clamp(0, last)
    first = place.floor()
    weight = (place - first)[:, None]
    step = 2 * torch.pi * frequency / (FINER * side)
    wave = torch.polar(torch.ones(count, len(step)).double(), (first[:, None] + FINER * pad) * step)
    wave = wave * (1 - weight + weight * torch.polar(torch.ones_like(step), step)) / side
    if axis:
        wave[:, 1:] *= 2  # these frequencies stand for two of the whole plane
    return wave


class ObservationOperator(nn.Module):
    """The poorer survey's image of the richer survey's, by some forty numbers that are fitted to pairs.

    In Fourier space, at frequency k, an image is multiplied by T(k) = exp(-(a fwhm_p k)^p + (b fwhm_r k)^q - c k^2) ·
    boxes, with a, b, c, p and q of each band. fwhm_p and fwhm_r are the seeing of the poorer and of the richer survey.
    A Kolmogorov spectrum has p = q = 5/3. The term c stands for the blur by resampling, and the boxes are the ratio of
    both surveys' pixels. The exponential is at most 1, so that noise is never amplified. Then a matrix mixes the bands,
    as the filters of both surveys differ.

    Parameters
    ----------
    here : Grid
        Grid of the poorer survey, where its images land.
    there : Grid
        Grid of the richer survey.
    width : int
        Not used.
    """

    band_axes = BAND_AXES

    def __init__(self, here: Grid, there: Grid, width: int = 0) -> None:
        super().__init__()
        bands = here.bands
        self.scales = here.pixel_scale, there.pixel_scale
        self.poorer, self.richer = (nn.Parameter(torch.full((bands,), 1.9)) for _ in range(2))
        self.powers = nn.Parameter(torch.full((2, bands), 5 / 3))
        self.rest = nn.Parameter(torch.zeros(bands))
        self.colour = nn.Parameter(torch.eye(bands))

    def forward(
        self,
        image: Tensor,
        seeing: Tensor,
        richer_seeing: Tensor,
        alignment: Tensor,
        size: int | tuple[int, int],
        mixing: Tensor | None = None,
        apart: bool = False,
    ) -> Tensor:
        """Return observations (B, band, row, col), without noise.

        Parameters
        ----------
        image : Tensor
            Images of the richer survey, without gaps.
        seeing : Tensor
            Full width at half maximum of stars that the observations shall have (B, band) [arcsec].
        richer_seeing : Tensor
            Full width at half maximum of stars in the images (B, band) [arcsec].
        alignment : Tensor
            From the observations' grid to the images' (B, 2, 3).
        size : int or tuple of int
            Rows and columns of the observations; one number if they are square.
        mixing : Tensor, optional
            Matrices (B, band, band) in place of the operator's own, if some bands are missing.
        apart : bool
            Whether no alignment turns (`turns`), so that rows and columns are sampled one after the other. This takes a
            third of the time, and the result is the same to the precision of float32.
        """
        with torch.autocast(image.device.type, enabled=False):
            if apart:
                seen = self._sampled_apart(image.float(), seeing, richer_seeing, alignment, size)
            else:
                seen = self.blurred(image.float(), seeing, richer_seeing)
                seen = sample(seen.to(alignment.dtype), FINER * alignment, size)
            seen = (seen * area(alignment)).float()
            mixing = self.colour.expand(len(seen), -1, -1) if mixing is None else mixing
            return torch.einsum("bij,bjhw->bihw", mixing, seen)

    def blurred(self, image: Tensor, seeing: Tensor, richer_seeing: Tensor) -> Tensor:
        """Return the images with the observations' seeing and pixel size, on pixels `FINER` times as fine.

        With pixels that fine, bilinear sampling keeps a star's flux to a thousandth wherever it lies.
        """
        seen, pad, (rows, cols) = self._spectrum(image, seeing, richer_seeing)
        wide = seen.new_zeros(*seen.shape[:2], FINER * rows, FINER * cols // 2 + 1)
        half = (rows + 1) // 2
        wide[..., :half, : seen.shape[-1]] = seen[..., :half, :]
        wide[..., half - rows :, : seen.shape[-1]] = seen[..., half:, :]
        fine = torch.fft.irfft2(wide, s=(FINER * rows, FINER * cols)) * FINER**2
        first, last = FINER * pad, FINER * pad + FINER - 1  # from the centre of the first pixel to that of the last
        return fine[..., first:-last, first:-last]

    def _spectrum(self, image: Tensor, seeing: Tensor, richer_seeing: Tensor) -> tuple[Tensor, int, tuple[int, int]]:
        """Return the half plane of frequencies (B, band, row, col) of blurred images, by how many pixels they were
        continued at each edge, and their rows and columns with these.
        """
        pad = round(PAD / self.scales[1])
        padded = F.pad(image, (pad,) * 4, mode="replicate")
        shape = tuple(padded.shape[-2:])
        return torch.fft.rfft2(padded) * self.transfer(seeing, richer_seeing, shape), pad, shape

    def _sampled_apart(self, image: Tensor, seeing, richer_seeing, alignment: Tensor, size) -> Tensor:
        """Return what `sample` reads of `blurred` (B, band, *size), for alignments that do not turn.

        The Fourier transform back and the bilinear sampling are one matrix for rows and one for columns, so that no
        finer image is made. Each image is multiplied alone, so that its result does not depend on the others.
        """
        spectrum, pad, shape = self._spectrum(image, seeing, richer_seeing)
        size = (size, size) if isinstance(size, int) else size
        made, known = [], {}
        for each, aligned in zip(spectrum, alignment.double().tolist(), strict=True):
            read = []
            for axis in (0, 1):
                place = round(aligned[axis][axis], 9), round(aligned[axis][2], 7), axis
                if place not in known:
                    known[place] = _reading(*place, shape[axis], pad, size[axis]).to(each)
                read.append(known[place])
            made.append((read[0] @ (each @ read[1].mT)).real)
        return torch.stack(made)

    def transfer(self, seeing: Tensor, richer_seeing: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return T (B, band, frequency of the half plane) for images of `shape` on the richer survey's pixels."""
        here, there = self.scales
        row = torch.fft.fftfreq(shape[0], there, device=seeing.device)[:, None]
        col = torch.fft.rfftfreq(shape[1], there, device=seeing.device)
        k = torch.hypot(row, col) + SMALLEST
        poorer, richer = (
            ((width * wide).abs() ** power)[..., None, None] * k ** power[:, None, None]
            for width, wide, power in (
                (self.poorer, seeing, self.powers[0]),
                (self.richer, richer_seeing, self.powers[1]),
            )
        )
        log = richer - poorer - self.rest[:, None, None] * k**2
        boxes = torch.sinc(here * row) * torch.sinc(here * col) / (torch.sinc(there * row) * torch.sinc(there * col))
        return torch.exp(log.clamp(max=0.0)) * boxes


class NoOperator(nn.Module):
    """The stand-in for an operator in the domain of the richer survey."""

    def __init__(self, here: Grid, there: Grid, width: int = 0) -> None:
        super().__init__()
