"""Print statistics of the twin sky beside those of real archive files: the tables of docs/explanation/twin_sky.md.

    galtrans simulate --out sky
    python benchmarks/compare_twin_sky.py sky [FOLDER OF REAL FILES]

Real files: SDSS frames of run 7264 in a Science Archive Server's tree, and T0007 cutouts (cfht/CFHTLS-test_?.fits).
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from photutils.segmentation import SourceCatalog, detect_sources
from scipy.ndimage import binary_dilation, gaussian_filter, maximum_filter
from scipy.optimize import least_squares

from survey_tools import SURVEYS

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
FRAMES = "sas/dr12/boss/photoObj/frames/301/*/*/frame-{}-*.fits.bz2"
STACKS = {"real": "cfht/CFHTLS-test_{}.fits", "twin": "cfht/TWINSKY_W_{}_*.fits"}
MAGNITUDES = np.arange(18.5, 22.1, 0.5)


def images_of(root: Path, survey: str, band: str, origin: str) -> list[np.ndarray]:
    pattern = FRAMES if survey == "sdss" else STACKS[origin]
    images = []
    for path in sorted(root.glob(pattern.format(band))):
        pixels = fits.getdata(path, 0).astype(np.float64)
        pixels[pixels == 0] = np.nan
        images.append(pixels[64:-64, 64:-64] if survey == "cfht" and origin == "twin" else pixels)
    return images


def stated_width(root: Path, survey: str, band: str, origin: str) -> str:
    """FWHM [arcsec] in the headers: of real frames there is none."""
    pattern, key = (FRAMES, "SEEING") if survey == "sdss" else (STACKS[origin], "IQIMAGE")
    widths = [fits.getheader(path, 0).get(key) for path in sorted(root.glob(pattern.format(band)))]
    return ", ".join(f"{width:.2f}" for width in dict.fromkeys(widths) if width) or "–"


def blank_sky(image: np.ndarray) -> np.ndarray:
    """Pixels of blank sky less their median, NaN elsewhere: nothing shines near them in the smoothed image."""
    filled = np.where(np.isnan(image), np.nanmedian(image), image)
    smooth = gaussian_filter(filled, 2)
    source = np.zeros(image.shape, bool)
    for _ in range(4):
        level, sigma = np.median(smooth[~source]), mad_std(smooth[~source])
        source = binary_dilation(np.abs(smooth - level) > 3 * sigma, iterations=6)
    blank = np.where(source | np.isnan(image), np.nan, image)
    blank -= np.nanmedian(blank)
    return np.where(np.abs(blank) > 4 * mad_std(blank[np.isfinite(blank)]), np.nan, blank)


def autocorrelation(blank: np.ndarray, lag: int) -> float:
    """Of neighbours `lag` pixels apart, along rows and columns together."""
    products = [blank[lag:] * blank[:-lag], blank[:, lag:] * blank[:, :-lag]]
    return float(np.mean([np.nanmean(each) for each in products]) / np.nanmean(blank**2))


def star_widths(image: np.ndarray, survey: str) -> np.ndarray:
    """FWHM [arcsec] of a Moffat profile fitted to each compact bright source; stars are the narrowest."""
    half = 10 if survey == "sdss" else 14
    filled = np.nan_to_num(image)
    smooth, sigma = gaussian_filter(filled, 1), mad_std(filled)
    ceiling = np.inf if survey == "sdss" else 2500
    peak = (smooth == maximum_filter(smooth, 2 * half + 1)) & (filled > 40 * sigma) & (filled < ceiling)
    widths = []
    for row, col in zip(*np.nonzero(peak), strict=True):
        if half <= row < image.shape[0] - half and half <= col < image.shape[1] - half:
            width, misfit = moffat_width(filled[row - half : row + half + 1, col - half : col + half + 1])
            if misfit < 0.02:
                widths.append(width * SURVEYS[survey].pixel_scale)
    return np.array(widths)


def moffat_width(stamp: np.ndarray) -> tuple[float, float]:
    row, col = np.indices(stamp.shape)
    middle = stamp.shape[0] // 2

    def model(terms):
        height, y, x, radius, beta, plus, cross, level = terms
        down, along = row - y, col - x
        distance = down**2 * (1 + plus) + along**2 * (1 - plus) + 2 * cross * down * along
        return height * (1 + distance / radius**2) ** -beta + level

    start = [stamp.max(), middle, middle, 3, 3, 0, 0, 0]
    low, high = [0, 0, 0, 0.5, 1.2, -0.5, -0.5, -np.inf], [np.inf, 2 * middle, 2 * middle, 20, 20, 0.5, 0.5, np.inf]
    fit = least_squares(lambda terms: (model(terms) - stamp).ravel(), start, bounds=(low, high))
    return float(2 * fit.x[3] * np.sqrt(2 ** (1 / fit.x[4]) - 1)), float(np.std(fit.fun) / stamp.max())


def stellar_width(images: list[np.ndarray], survey: str) -> str:
    widths = np.concatenate([star_widths(image, survey) for image in images])
    if len(widths) == 0:
        return "–"
    narrow = widths[widths < 1.1 * np.percentile(widths, 15)]
    return f"{np.median(narrow):.2f} ({len(narrow)})"


def counts(images: list[np.ndarray], survey: str) -> np.ndarray:
    """Detected sources a square arcmin and half magnitude, in the bins of `MAGNITUDES`."""
    total, area = 0, 0.0
    for image in images:
        filled = np.nan_to_num(image)
        smooth = gaussian_filter(filled, 1.5)
        segments = detect_sources(smooth, np.median(smooth) + 3 * mad_std(smooth), 8)
        flux = np.asarray(SourceCatalog(filled - np.median(filled), segments).segment_flux)
        magnitude = SURVEYS[survey].zero_point - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
        total = total + np.histogram(magnitude, MAGNITUDES)[0]
        area += np.isfinite(image).sum() * (SURVEYS[survey].pixel_scale / 60) ** 2
    return total / area


def row(label: str, values) -> str:
    return f"| {label} | " + " | ".join(values) + " |"


def noise_and_width(roots: dict[str, Path]) -> None:
    titles = [
        "blank sky sigma",
        "lag 1",
        "lag 2",
        "lag 3",
        "pixels at 1, 25, 75, 99 % [sigma]",
        "stars' FWHM",
        "header",
    ]
    print(row("file", titles))
    print("|---|---|---|---|---|---|---|---|")
    for survey, bands in (("sdss", "ugriz"), ("cfht", "gri")):
        unit = "nanomaggy" if survey == "sdss" else "counts"
        for band in bands:
            for origin, root in roots.items():
                images = images_of(root, survey, band, origin)
                blank = [blank_sky(image) for image in images]
                sigma = np.median([np.nanstd(each) for each in blank])
                lags = [f"{np.mean([autocorrelation(each, lag) for each in blank]):+.3f}" for lag in (1, 2, 3)]
                spread = np.mean([np.nanpercentile(image, [1, 25, 75, 99]) for image in images], axis=0) / sigma
                values = [f"{sigma:.4g} {unit}", *lags, ", ".join(f"{value:+.2f}" for value in spread)]
                values += [stellar_width(images, survey), stated_width(root, survey, band, origin)]
                print(row(f"{survey} {band}, {origin}", values))


def source_counts(roots: dict[str, Path]) -> None:
    print()
    print(row("r magnitude", [f"{low:.1f}–{low + 0.5:.1f}" for low in MAGNITUDES[:-1]]))
    print("|---" * len(MAGNITUDES) + "|")
    for survey in ("sdss", "cfht"):
        for origin, root in roots.items():
            density = counts(images_of(root, survey, "r", origin), survey)
            print(row(f"{survey}, {origin}", [f"{value:.2f}" for value in density]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("twin", type=Path, help="folder that `galtrans simulate --out` wrote")
    parser.add_argument("real", type=Path, nargs="?", default=REAL, help="folder of real files")
    arguments = parser.parse_args()
    if not arguments.real.is_dir():
        raise SystemExit(f"{arguments.real} is not there: without real files there is nothing to compare with")
    roots = {"real": arguments.real, "twin": arguments.twin}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        noise_and_width(roots)
        source_counts(roots)


if __name__ == "__main__":
    main()
