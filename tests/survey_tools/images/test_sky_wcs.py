"""Headers of every kind that cameras and pipelines write, against astropy's reading of all that they state."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, BarycentricMeanEcliptic, Galactic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.testing import assert_allclose, assert_array_equal

from survey_tools.images.sky_wcs import (
    SAME,
    centre_of,
    grid_cards,
    local_cd,
    local_scale,
    north_up_wcs,
    pixels_of,
    places_of,
    plain_tan,
    read_grid,
    read_wcs,
    rescaled_wcs,
    scale_of,
    tan_terms,
    tan_wcs,
)

POSITIONS = [(38.5, -7.1), (0.0, 0.0), (359.9999, 45.0), (10.0, 89.99), (215.5, -89.0)]
PIXEL = 0.186 / 3600
HERE = SkyCoord(215.5, 52.7, unit="deg")


def turned(angle: float, parity: int = -1) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[parity * c, s], [-parity * s, c]]) * PIXEL


def header_of(crval=(HERE.ra.deg, HERE.dec.deg), ctype=("RA---TAN", "DEC--TAN"), angle=0.2, **cards) -> fits.Header:
    """A grid of pixels of CFHT, turned by `angle` [radian], whose reference pixel is (68.3, 67.9)."""
    header = fits.Header({"CTYPE1": ctype[0], "CTYPE2": ctype[1], "CRVAL1": crval[0], "CRVAL2": crval[1]})
    header.update({"CRPIX1": 68.3, "CRPIX2": 67.9})
    header.update({f"CD{i + 1}_{j + 1}": value for (i, j), value in np.ndenumerate(turned(angle))})
    header.update(cards)
    return header


def polynomial(kind: str, strength: float) -> fits.Header:
    """A grid with the polynomial of SCAMP and TPV: xi + strength xi² + …"""
    terms = {f"PV{axis}_{term}": 0.0 for axis in (1, 2) for term in (0, 2, 4, 5, 6)}
    terms |= {"PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": strength, "PV2_0": 1e-3}
    return header_of(ctype=(f"RA---{kind}", f"DEC--{kind}"), **terms)


def sip(strength: float) -> fits.Header:
    return header_of(ctype=("RA---TAN-SIP", "DEC--TAN-SIP"), A_ORDER=2, B_ORDER=2, A_2_0=strength, B_1_1=-strength)


def in_frame(frame, ctype=("RA---TAN", "DEC--TAN"), **cards) -> fits.Header:
    place = HERE.transform_to(frame).spherical
    return header_of((place.lon.deg, place.lat.deg), ctype, **cards)


KEPT = {  # whose pixels plain TAN terms have where they are
    "ICRS": header_of(),
    "no frame at all, as in the oldest files of this century": header_of(),
    "FK5": in_frame(FK5(), RADESYS="FK5", EQUINOX=2000.0),
    "FK5 without an equinox": in_frame(FK5(), RADESYS="FK5"),
    "FK5 of date": in_frame(FK5(equinox="J2003.5"), RADESYS="FK5", EQUINOX=2003.5),
    "an equinox alone": in_frame(FK5(equinox="J2016.3"), EQUINOX=2016.3),
    "RADECSYS": in_frame(FK5(equinox="J1990"), RADECSYS="FK5", EQUINOX=1990.0),
    "FK4": in_frame(FK4(equinox="B1950"), RADESYS="FK4", EQUINOX=1950.0),
    "B1950 by its equinox": in_frame(FK4(equinox="B1950"), EQUINOX=1950.0),
    "EPOCH, as files had it before EQUINOX": in_frame(FK4(equinox="B1950"), EPOCH=1950.0),
    "Galactic": in_frame(Galactic(), ("GLON-TAN", "GLAT-TAN")),
    "declination first": header_of((HERE.dec.deg, HERE.ra.deg), ("DEC--TAN", "RA---TAN")),
    "a turned pole": header_of(LONPOLE=100.0),
    "a pole by PV1_3": header_of(PV1_3=100.0),
    "an unused LATPOLE": header_of(LATPOLE=12.0),
    "a weak SCAMP polynomial": polynomial("TAN", 0.003),
    "a weak TPV polynomial": polynomial("TPV", 0.003),
    "weak SIP terms": sip(1e-7),
    "orthographic, 20 degrees from its centre": header_of(ctype=("RA---SIN", "DEC--SIN"), CRPIX1=400000.0),
    "orthographic, small": header_of(ctype=("RA---SIN", "DEC--SIN")),
    "zenithal polynomial, small": header_of(ctype=("RA---ZPN", "DEC--ZPN"), PV2_1=1.0, PV2_3=42.0),
    "plate carree": header_of((HERE.ra.deg, 0.0), ("RA---CAR", "DEC--CAR")),
}
RESAMPLED = {  # which no plain TAN terms follow over 400 pixels
    "SCAMP": polynomial("TAN", 3.0),
    "TPV": polynomial("TPV", 3.0),
    "SIP": sip(1e-5),
    "wide ZPN": header_of(ctype=("RA---ZPN", "DEC--ZPN"), PV2_1=1.0, PV2_3=42.0, CRPIX1=60000.0),
}
PIXELS = np.array([(0, 0), (399, 0), (0, 399), (399, 399), (199.5, 199.5), (37, 311)], float)


def truth(header: fits.Header, pixels=PIXELS) -> SkyCoord:
    """Where astropy has some pixels, by all that a header states."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header).celestial.pixel_to_world(*pixels.T).icrs


@pytest.mark.parametrize("name", KEPT | RESAMPLED)
def test_places_and_pixels_are_those_of_the_full_wcs(name):
    header = (KEPT | RESAMPLED)[name]
    wcs = read_wcs(header)
    places = places_of(wcs, PIXELS)
    assert truth(header).separation(SkyCoord(places, unit="deg")).arcsec.max() < 1e-5
    assert_allclose(pixels_of(wcs, places), PIXELS, atol=1e-4)
    assert truth(header)[4].separation(SkyCoord(*centre_of(wcs, (400, 400)), unit="deg")).arcsec < 1e-5


@pytest.mark.parametrize("name", KEPT)
def test_terms_are_turned_with_the_frame_and_no_pixel_moves(name):
    plain = plain_tan(read_wcs(KEPT[name]), (400, 400))
    assert (*plain.wcs.ctype, plain.wcs.radesys) == ("RA---TAN", "DEC--TAN", "ICRS")
    places = truth(KEPT[name])
    assert_allclose(plain.wcs_world2pix(places.ra.deg, places.dec.deg, 0), PIXELS.T, atol=SAME)


def test_terms_that_are_icrs_tan_are_kept_to_the_last_digit():
    wcs = read_wcs(header_of())
    for ours, theirs in zip(tan_terms(plain_tan(wcs, (400, 400))), tan_terms(wcs), strict=True):
        assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["FK5", "Galactic", "declination first"])
def test_a_frame_that_is_but_turned_keeps_its_reference_pixel(name):
    plain = plain_tan(read_wcs(KEPT[name]), (400, 400))
    assert_array_equal(plain.wcs.crpix, (68.3, 67.9))
    assert HERE.separation(SkyCoord(*plain.wcs.crval, unit="deg")).arcsec < 1e-5


def test_ecliptic_coordinates_are_ecliptic():
    """astropy's own WCS takes them for ICRS."""
    wcs = read_wcs(in_frame(BarycentricMeanEcliptic(), ("ELON-TAN", "ELAT-TAN")))
    assert HERE.separation(SkyCoord(*places_of(wcs, [[67.3, 66.9]])[0], unit="deg")).arcsec < 1e-5


@pytest.mark.parametrize("name", RESAMPLED)
def test_a_grid_that_is_not_plain_is_refused_with_how_far_it_is_off(name):
    with pytest.raises(
        ValueError,
        match=r"WCS \(RA---.*, icrs\) whose projection or distortions differ from a plain TAN grid by [\d.e+]+ pixels",
    ):
        plain_tan(read_wcs(RESAMPLED[name]), (400, 400))


@pytest.mark.parametrize("name", KEPT | RESAMPLED)
def test_a_rescaled_grid_shows_the_sky_that_the_full_wcs_has(name):
    header = (KEPT | RESAMPLED)[name]
    wcs = read_wcs(header)
    target = rescaled_wcs(wcs, (400, 400), 0.396, 101)
    assert truth(header)[4].separation(target.pixel_to_world(50, 50)).arcsec < 1e-4
    assert_allclose(local_scale(target, (101, 101)), 0.396, rtol=1e-6)
    step = 5 * 0.396 / local_scale(wcs, (400, 400))
    moved = truth(header, PIXELS[4:5] + [step, 0])[0]
    assert moved.separation(target.pixel_to_world(55, 50)).arcsec < 0.01


@pytest.mark.parametrize("cards", [{"RADESYS": "GAPPT"}, {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}])
def test_coordinates_without_a_known_place_on_the_sky_are_named(cards):
    with pytest.raises(ValueError, match="neither ICRS, FK5, FK4, Galactic nor ecliptic"):
        read_wcs(header_of(**cards))


@pytest.mark.parametrize(
    "more",
    [
        {"NAXIS": 3, "NAXIS3": 1},
        {"NAXIS": 3, "NAXIS3": 1, "CTYPE3": "FREQ", "CRVAL3": 1e9, "CRPIX3": 1.0, "CD3_3": 1e6},
        {"NAXIS": 4, "NAXIS3": 1, "NAXIS4": 1, "CTYPE3": "FREQ", "CTYPE4": "STOKES"},
        {"WCSAXES": 3, "CTYPE3": "STOKES", "CDELT3": 1.0},
    ],
)
def test_axes_that_are_not_of_the_sky_change_nothing(more):
    shape = {"NAXIS1": 400, "NAXIS2": 400}
    found = places_of(read_wcs(header_of(**shape, **more)), PIXELS)
    assert_allclose(found, places_of(read_wcs(header_of()), PIXELS), rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["CDELT and CROTA2", "PC and CDELT", "PC alone", "arcsec"])
def test_the_matrix_is_read_as_it_is_written(form):
    expected = places_of(read_wcs(header_of(angle=0.3)), PIXELS)
    header = header_of(angle=0.3)
    cd = {key: header.pop(key) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")}
    if form == "CDELT and CROTA2":
        header.update({"CDELT1": -PIXEL, "CDELT2": PIXEL, "CROTA2": -np.degrees(0.3)})
    elif form == "PC and CDELT":
        header.update({key.replace("CD", "PC"): value / PIXEL for key, value in cd.items()})
        header.update({"CDELT1": PIXEL, "CDELT2": PIXEL})
    elif form == "PC alone":
        header.update({key.replace("CD", "PC"): value for key, value in cd.items()})
    else:
        header.update({key: value * 3600 for key, value in cd.items()})
        header.update({f"CUNIT{axis}": "arcsec" for axis in (1, 2)})
        header.update({f"CRVAL{axis}": header[f"CRVAL{axis}"] * 3600 for axis in (1, 2)})
    assert_allclose(places_of(read_wcs(header), PIXELS), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("card", ["RA      = 12:30:40.5", "FOO BAR = 3", "OBSERVER= 'never closed", "MJD-OBS = 1 2"])
def test_cards_that_break_the_standard_are_no_matter_where_they_say_nothing_of_the_grid(card):
    header = _with_card(header_of(), card)
    assert_allclose(places_of(read_wcs(header), PIXELS), places_of(read_wcs(header_of()), PIXELS))
    assert len(grid_cards(header)) == len(grid_cards(header_of()))


def test_a_card_of_the_grid_that_cannot_be_read_is_named():
    header = header_of()
    del header["CRVAL1"]
    with pytest.raises(ValueError, match="CRVAL1"):
        read_wcs(_with_card(header, "CRVAL1  = 1,5"))


def _with_card(header: fits.Header, card: str) -> fits.Header:
    text = header.tostring(endcard=False, padding=False) + card.ljust(80)
    return fits.Header.fromstring(text)


def test_tables_of_a_distortion_are_read_from_the_file(tmp_path):
    """As HST's files hold them: here a table that moves the sky by two columns throughout."""
    header = header_of(CPDIS1="LOOKUP", CPDIS2="LOOKUP")
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((400, 400), np.float32), header)])
    for axis, shift in ((1, 2.0), (2, 0.0)):
        table = fits.ImageHDU(np.full((3, 3), shift, np.float32), name="WCSDVARR", ver=axis)
        table.header.update(
            {"CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 1.0, "CRVAL2": 1.0, "CDELT1": 200.0, "CDELT2": 200.0}
        )
        hdus.append(table)
        for key, value in (("EXTVER", axis), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
            hdus[1].header.append((f"DP{axis}", f"{key}: {value}"), end=True)
    wcs = read_wcs(hdus[1].header, hdus)
    assert wcs.has_distortion
    expected = places_of(read_wcs(header_of()), PIXELS[4:] + [2.0, 0.0])
    assert_allclose(places_of(wcs, PIXELS[4:]), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("cd", [turned(0.0), turned(0.3), turned(-2.0), turned(0.3, parity=1)])
def test_a_rescaled_grid_keeps_centre_orientation_and_parity(position, cd):
    wcs = tan_wcs(position, (3000.3, -1200.6), cd)
    target = rescaled_wcs(wcs, (136, 136), 0.396, 64)
    assert wcs.pixel_to_world(67.5, 67.5).separation(target.pixel_to_world(31.5, 31.5)).arcsec < 1e-5
    assert_allclose(scale_of(target), 0.396, rtol=1e-3)
    for offset in ((20, 0), (0, 20), (-11, 7)):  # the same direction on the sky from the centre
        far = target.pixel_to_world(*(31.5 + np.array(offset)))
        col, row = wcs.world_to_pixel(far)
        assert_allclose(np.array([col, row]) - 67.5, np.array(offset) * 0.396 / 0.186, atol=0.05)


def test_a_rescaled_grid_of_a_rectangle_is_centred_on_it():
    wcs = tan_wcs((38.5, -7.1), (1, 1), turned(0.1))
    target = rescaled_wcs(wcs, (100, 300), 0.186, 11)
    assert wcs.pixel_to_world(149.5, 49.5).separation(target.pixel_to_world(5, 5)).arcsec < 1e-5


def test_the_local_cd_at_the_reference_pixel_is_the_cd():
    cd = turned(0.4)
    assert_allclose(local_cd(tan_wcs((10, 20), (50.5, 50.5), cd), (100, 100)), cd, rtol=1e-6)


def test_the_local_cd_far_from_it_has_the_area_on_the_sky():
    """At an angle t from the tangent point a TAN pixel covers cos³ t of its area."""
    wcs = tan_wcs((10, 20), (50.5 + 2 / PIXEL, 50.5), turned(0.0))
    angle = wcs.pixel_to_world(49.5, 49.5).separation(SkyCoord(10 * u.deg, 20 * u.deg)).rad
    ratio = np.linalg.det(local_cd(wcs, (100, 100))) / np.linalg.det(turned(0.0))
    assert_allclose(ratio, np.cos(angle) ** 3, rtol=1e-5)


@pytest.mark.parametrize("keywords", ["CD", "CDELT"])
def test_a_header_is_read_as_astropy_reads_it(keywords):
    wcs = north_up_wcs(38.5, -7.1, 0.396, 64)
    header = wcs.to_header()
    if keywords == "CD":
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 38.5, "CRVAL2": -7.1})
        header.update({"CRPIX1": 32.5, "CRPIX2": 32.5, "CD1_1": -0.396 / 3600, "CD2_2": 0.396 / 3600})
    assert_allclose(read_wcs(header).wcs_pix2world([[0, 0]], 0), wcs.wcs_pix2world([[0, 0]], 0), atol=1e-10)


def test_old_keywords_are_repaired_without_a_warning():
    header = north_up_wcs(38.5, -7.1, 0.396, 64).to_header()
    del header["RADESYS"]
    header["RADECSYS"] = "ICRS"
    assert read_wcs(header).wcs.radesys == "ICRS"


def test_the_celestial_part_of_a_cube_is_read():
    cube = WCS(naxis=3)
    cube.wcs.ctype = ["RA---TAN", "DEC--TAN", "WAVE"]
    cube.wcs.crval, cube.wcs.cdelt, cube.wcs.crpix = [38.5, -7.1, 5e-7], [-1e-4, 1e-4, 1e-9], [1, 1, 1]
    assert_allclose(read_wcs(cube.to_header()).wcs_pix2world([[0, 0]], 0), [[38.5, -7.1]])


@pytest.mark.parametrize("header", [fits.Header(), fits.Header({"CTYPE1": "WAVE", "CRVAL1": 5e-7, "CDELT1": 1e-9})])
def test_a_header_without_a_sky_has_no_wcs(header):
    assert read_wcs(header) is None


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"A_ORDER": 100000}, "A_ORDER = 100000 is not a whole number from 0 to 9"),
        ({"WCSAXES": 2000000000}, "WCSAXES = 2000000000 is not a whole number"),
        ({"PLTRAH": "text"}, "PLTRAH = 'text' is not a number"),
        ({"CPDIS1": "POLYNOMIAL"}, "Polynomial distortion is not implemented"),
        ({"CPDIS1": True}, "lower"),
    ],
)
def test_terms_that_astropy_does_not_survive_are_refused(cards, said):
    header = header_of()
    header.update(cards)
    with pytest.raises(ValueError, match=said):
        read_wcs(header)


def test_a_term_that_is_there_twice_must_say_the_same():
    header = header_of()
    header.append(("CRVAL1", header["CRVAL1"]), end=True)
    assert read_wcs(header) is not None
    header.append(("CRVAL1", 3.0), end=True)
    with pytest.raises(ValueError, match=r"CRVAL1 is there twice, as .*215\.5.* and 3\.0"):
        read_wcs(header)


def test_the_middle_of_an_image_lies_on_the_sky():
    assert_allclose(centre_of(read_grid(header_of(), (136, 136)), (136, 136)), [215.5, 52.7], atol=0.01)
    with pytest.raises(ValueError, match="the middle of the image is not on the sky"):
        read_grid(header_of(ctype=("RA---SIN", "DEC--SIN"), CRPIX1=1e9), (136, 136))
    header = header_of()
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        header[key] *= 1e-9
    with pytest.raises(ValueError, match=r"a pixel has a side of .*e-10 arcsec"):
        read_grid(header, (136, 136))


@pytest.mark.parametrize("keyword", ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"])
def test_an_image_whose_place_is_not_stated_is_refused(keyword):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0})
    header.update({"CRPIX1": 32.5, "CRPIX2": 32.5, "CDELT1": -1e-4, "CDELT2": 1e-4})
    assert read_wcs(header) is not None
    del header[keyword]
    with pytest.raises(ValueError, match=rf"CTYPE{keyword[-1]} = .* needs a keyword {keyword}"):
        read_wcs(header)
