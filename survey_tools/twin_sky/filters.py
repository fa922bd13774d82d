"""The filter curves of the surveys that are simulated, and the flux of a spectrum through them."""

from dataclasses import dataclass

import numpy as np

STEP = 5.0  # [Angstrom] of the sums in `synthetic_flux`; templates have lines about this wide
EDGE = 100.0  # [Angstrom] over which a trapezoid rises and falls


@dataclass(frozen=True)
class FilterCurve:
    """The throughput of a band: linear between its entries, 0 outside.

    Attributes
    ----------
    wavelength : ndarray
        Of the entries [Angstrom].
    response : ndarray
        Relative response of telescope, camera, filter and atmosphere, 1 at its highest.
    """

    wavelength: np.ndarray
    response: np.ndarray


def _table(first: float, step: float, response: str) -> FilterCurve:
    """Return a tabulated curve: the wavelength of the first entry, the step to the next, and all responses."""
    values = np.array(response.split(), dtype=float)
    return FilterCurve(first + step * np.arange(len(values)), values)


def _trapezoid(blue: float, red: float) -> FilterCurve:
    """Return a trapezoid that has half of its height at these wavelengths [Angstrom]."""
    nodes = [blue - EDGE / 2, blue + EDGE / 2, red - EDGE / 2, red + EDGE / 2]
    return FilterCurve(np.array(nodes), np.array([0.0, 1.0, 1.0, 0.0]))


CURVE_SOURCES = {
    "sdss": "Doi et al. (2010, AJ 139, 1628): the mean response of the camera columns",
    "cfht": "MegaCam's first set of filters, CFHT's MegaPrime pages",
    "des": "DES DR1, Abbott et al. (2018, ApJS 239, 18): the mean of the science CCDs, airmass 1.2; in steps of 50 "
    "Angstrom",
    "hsc": "Kawanomoto et al. (2018, PASJ 70, 66), r2 and i2, airmass 1.2; in steps of 50 Angstrom",
    "ps1": "Tonry et al. (2012, ApJ 750, 99), airmass 1.2; in steps of 50 Angstrom",
    "kids": "no table: trapezoids around the central wavelengths of the OmegaCAM filters (Kuijken et al. 2019, A&A "
    "625, A2), with the widths of SDSS's filters, which they copy; uncertain to 50 Angstrom",
    "legacy": "those of DES: both surveys use the Dark Energy Camera",
}
CURVES = {
    "sdss": {
        "u": _table(
            3000,
            50,
            """0 .005 .025 .086 .192 .312 .427 .535 .628 .707 .794 .862 .915 .969 1 .959 .818 .558 .280 .104 .026
            .006 .002 .001 0""",
        ),
        "g": _table(
            3700,
            100,
            """0 .020 .129 .350 .548 .664 .737 .797 .848 .887 .920 .946 .968 .987 1 .974 .683 .178 .027 .004 0""",
        ),
        "r": _table(5300, 100, "0 .011 .159 .502 .762 .864 .909 .937 .956 .969 .991 1 1 .976 .741 .266 .045 .008 0"),
        "i": _table(
            6600,
            100,
            """0 .017 .145 .490 .858 1 .983 .977 .970 .936 .732 .794 .804 .773 .749 .686 .382 .071 .005 0""",
        ),
        "z": _table(
            7800,
            100,
            """0 .007 .031 .123 .326 .600 .839 .955 1 .993 .937 .829 .684 .617 .551 .420 .313 .284 .279 .277 .239
            .195 .148 .110 .078 .052 .033 .023 .016 .011 0""",
        ),
    },
    "cfht": {
        "u": _table(
            3250,
            50,
            """0 .026 .113 .240 .350 .457 .553 .611 .642 .630 .622 .708 .840 .905 .945 1 .959 .724 .371 .124 .034
            .012 .005 .003 0""",
        ),
        "g": _table(
            3900,
            100,
            """0 .014 .198 .648 .808 .850 .902 .948 .958 .985 1 .960 .923 .911 .931 .902 .752 .491 .146 .015 0""",
        ),
        "r": _table(
            5300,
            100,
            """0 .009 .057 .261 .642 .836 .834 .866 .932 .983 1 .988 .943 .839 .706 .686 .384 .052 .004 0""",
        ),
        "i": _table(
            6600,
            100,
            """0 .008 .030 .129 .457 .882 1 .994 .985 .952 .777 .839 .879 .862 .816 .757 .685 .593 .505 .364 .137
            .026 .005 0""",
        ),
        "z": _table(
            7800,
            100,
            """0 .005 .014 .055 .253 .729 1 .976 .931 .862 .787 .717 .620 .562 .516 .412 .312 .298 .284 .279 .241
            .196 .141 .084 .025 0""",
        ),
    },
    "des": {
        "g": _table(
            3850,
            50,
            """0 .005 .097 .345 .421 .456 .49 .523 .556 .594 .629 .665 .694 .718 .743 .764 .788 .803 .825 .841 .854
            .871 .882 .901 .915 .93 .941 .959 .976 .985 .998 1 .851 .2 .006 0""",
        ),
        "r": _table(
            5400,
            50,
            """0 .005 .008 .015 .037 .265 .722 .827 .848 .859 .857 .866 .875 .886 .894 .91 .919 .923 .926 .944 .955
            .958 .961 .971 .981 .984 .993 .997 1 .961 .903 .982 .995 .987 .928 .572 .096 .007 0""",
        ),
        "i": _table(
            6850,
            50,
            """0 .004 .013 .071 .293 .647 .877 .908 .927 .95 .966 .98 .989 .99 .986 .677 .711 .96 .994 1 .998 .989
            .971 .97 .985 .975 .938 .929 .931 .956 .986 .985 .993 .99 .655 .137 .013 0""",
        ),
        "z": _table(
            8250,
            50,
            """0 .006 .013 .033 .162 .571 .911 .957 .974 .981 .985 .994 1 .999 .965 .92 .953 .928 .924 .954 .944
            .793 .599 .659 .621 .649 .676 .708 .747 .784 .756 .744 .726 .69 .566 .246 .043 .006 0""",
        ),
        "y": _table(
            9300,
            50,
            """0 .009 .024 .086 .39 .795 .906 .957 1 .954 .94 .925 .881 .825 .762 .691 .616 .541 .466 .393 .326
            .256 .201 .172 .146 .126 .104 .048 .006 0""",
        ),
    },
    "hsc": {
        "g": _table(
            3900,
            50,
            """0 .034 .28 .477 .524 .561 .597 .628 .656 .688 .716 .742 .766 .789 .811 .827 .843 .853 .867 .883 .897
            .909 .926 .934 .948 .958 .97 .978 .987 1 .98 .627 .138 .011 0""",
        ),
        "r": _table(
            5250,
            50,
            """0 .004 .013 .064 .298 .742 .937 .949 .951 .952 .957 .966 .974 .974 .974 .976 .979 .985 .989 .993 .99
            .985 .995 .999 1 .999 .999 .998 .997 .995 .995 .993 .955 .881 .712 .328 .076 .016 .005 0""",
        ),
        "i": _table(
            6850,
            50,
            """0 .017 .226 .741 .969 1 .98 .953 .963 .978 .985 .982 .977 .973 .971 .72 .745 .936 .95 .943 .936 .929
            .928 .925 .917 .906 .885 .879 .874 .868 .869 .859 .841 .767 .487 .132 .016 0""",
        ),
        "z": _table(
            8150,
            50,
            """0 .005 0 0 .009 .043 .142 .351 .636 .863 .967 .994 .999 1 .995 .988 .962 .931 .94 .919 .904 .869 .74
            .476 .206 .079 .022 .007 0""",
        ),
        "y": _table(
            9000,
            50,
            """0 .012 .017 .029 .072 .198 .389 .569 .851 .949 .994 1 .996 .993 .989 .947 .917 .873 .818 .759 .694
            .616 .539 .464 .39 .33 .274 .217 .168 .142 .123 .103 .083 .064 .044 .024 .01 0""",
        ),
    },
    "ps1": {
        "g": _table(
            3900,
            50,
            """0 .024 .151 .301 .362 .41 .462 .506 .567 .614 .664 .701 .757 .785 .774 .791 .801 .828 .876 .904 .911
            .917 .935 .916 .914 .935 .946 .946 .974 1 .997 .952 .615 .13 .011 0""",
        ),
        "r": _table(
            5350,
            50,
            """0 .024 .164 .52 .777 .842 .859 .86 .857 .888 .895 .899 .911 .933 .949 .956 .95 .939 .945 .957 .968
            .991 1 .999 .999 .99 .974 .967 .955 .92 .799 .498 .192 .04 .008 0""",
        ),
        "i": _table(
            6700,
            50,
            """0 .005 .023 .129 .493 .872 .975 .979 .98 .98 .965 .967 .964 .983 .996 .998 1 .996 .717 .749 .972
            .989 .975 .963 .951 .964 .969 .956 .936 .85 .478 .108 .016 0""",
        ),
        "z": _table(
            7950,
            50,
            """0 .007 .02 .078 .256 .657 .937 .975 .987 1 .992 .986 .975 .969 .968 .959 .949 .934 .91 .894 .861
            .808 .809 .782 .737 .596 .268 .058 .011 .004 0""",
        ),
        "y": _table(
            9000,
            50,
            """0 .004 .018 .155 .594 .989 1 .818 .864 .792 .761 .74 .716 .697 .678 .619 .573 .526 .47 .417 .368 .32
            .273 .229 .191 .157 .127 .099 .078 .063 .052 .043 .034 .027 .021 .017 .014 .011 .009 .007 0""",
        ),
    },
    "kids": {
        "u": _trapezoid(3240, 3900),
        "g": _trapezoid(4070, 5480),
        "r": _trapezoid(5550, 6910),
        "i": _trapezoid(6880, 8380),
    },
}
CURVES["legacy"] = {band: CURVES["des"][band] for band in ("g", "r", "i", "z")}


def throughput(survey: str, band: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the tabulated throughput of a band. It is linear between the entries and 0 outside.

    Parameters
    ----------
    survey, band : str
        The survey, and one of its bands.

    Returns
    -------
    wavelength, response : ndarray
        [Angstrom], and the relative system response.
    """
    curve = CURVES[survey][band]
    return curve.wavelength, curve.response


def synthetic_flux(photon_rate, survey: str, band: str) -> float:
    """Return the AB flux of a spectrum through a band.

    The AB reference has a constant flux per unit frequency, and hence a photon rate that goes as 1/wavelength (Fukugita
    et al. 1996).

    Parameters
    ----------
    photon_rate : callable
        Takes wavelengths (n,) [Angstrom]; returns photons per unit wavelength.
    survey, band : str
        The survey, and one of its bands.

    Returns
    -------
    float
        In a unit that is the same for all bands, so that ratios are colours.
    """
    tabulated, response = throughput(survey, band)
    wave = np.arange(tabulated[0], tabulated[-1] + STEP, STEP)
    through = np.interp(wave, tabulated, response)
    return float((photon_rate(wave) * through).sum() / (through / wave).sum())
