import numpy as np

from translator.report.panels import Panel


def spot(size, scale, flux):
    row, col = np.indices((size, size)) - (size - 1) / 2
    profile = np.exp(-0.5 * (np.hypot(row, col) * scale / 1.5) ** 2)
    return np.stack([band * profile / profile.sum() for band in flux]).astype(np.float32)


def test_brightness_is_the_same_on_every_pixel_scale():
    coarse = Panel("SDSS", spot(64, 0.396, [300] * 5), tuple("ugriz"), 0.396)
    fine = Panel("CFHTLS", spot(136, 0.186, [300] * 5), tuple("ugriz"), 0.186)
    for panel in (coarse, fine):
        np.testing.assert_allclose(panel.brightness("r").sum() * panel.pixel_scale**2, 300, rtol=1e-5)
    np.testing.assert_allclose(coarse.brightness("r").max(), fine.brightness("r").max(), rtol=0.02)  # centre of a pixel


def test_missing_pixels_are_dark():
    images = spot(64, 0.396, [300] * 5)
    images[:, :10] = np.nan
    assert (Panel("SDSS", images, tuple("ugriz"), 0.396).brightness("r")[:10] == 0).all()
