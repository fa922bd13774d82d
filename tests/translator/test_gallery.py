import numpy as np
from matplotlib.image import imread

from translator.gallery import Galaxy, Panel, draw_page


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


def test_a_page_shows_every_panel_and_copes_with_missing_pixels(tmp_path):
    image = spot(64, 0.396, [30, 100, 200, 250, 300])
    image[:, :10] = np.nan
    panels = tuple(Panel(name, image, tuple("ugriz"), 0.396) for name in ("original", "translated", "target", "truth"))
    losses = {"step 1": {"cycle_x": np.array([[0, 1.0], [1, 0.5]])}}
    blocks = {"SDSS to CFHTLS": [Galaxy("r = 17.0", panels)] * 2, "back": [Galaxy("r = 18.0", panels)]}
    page = imread(draw_page(tmp_path / "page.png", blocks, losses))
    assert page.shape[1] > 1000
    colours = page[..., :3].reshape(-1, 3)
    assert (np.ptp(colours, axis=1) > 0.2).any()  # the galaxies are in colour
    assert [path.name for path in tmp_path.iterdir()] == ["page.png"]
