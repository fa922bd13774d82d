"""Throughputs of the ten bands: system responses of SDSS and MegaCam, as fine as broad-band photometry needs.

SDSS: Doi et al. (2010, AJ 139, 1628), table 4, with the atmosphere at airmass 1.3. MegaCam: the first filters
u*.MP9301, g.MP9401, r.MP9601, i.MP9701 and z.MP9801 with mirror, optics and CCD (curves of the AEGIS photometry, from
CFHT's). The red leaks of both u are left out. Each entry is the mean around it, scaled to a peak of 1: a factor common
to a band cancels in AB magnitudes.
"""

import numpy as np

FIRST_AND_STEP = {  # wavelength [Angstrom] of the first entry, and from one entry to the next
    "sdss": {"u": (3000, 50), "g": (3700, 100), "r": (5300, 100), "i": (6600, 100), "z": (7800, 100)},
    "cfht": {"u": (3250, 50), "g": (3900, 100), "r": (5300, 100), "i": (6600, 100), "z": (7800, 100)},
}
RESPONSE = {
    "sdss": {
        "u": """0 .005 .025 .086 .192 .312 .427 .535 .628 .707 .794 .862 .915 .969 1 .959 .818 .558 .280 .104 .026 .006
            .002 .001 0""",
        "g": "0 .020 .129 .350 .548 .664 .737 .797 .848 .887 .920 .946 .968 .987 1 .974 .683 .178 .027 .004 0",
        "r": "0 .011 .159 .502 .762 .864 .909 .937 .956 .969 .991 1 1 .976 .741 .266 .045 .008 0",
        "i": "0 .017 .145 .490 .858 1 .983 .977 .970 .936 .732 .794 .804 .773 .749 .686 .382 .071 .005 0",
        "z": """0 .007 .031 .123 .326 .600 .839 .955 1 .993 .937 .829 .684 .617 .551 .420 .313 .284 .279 .277 .239 .195
            .148 .110 .078 .052 .033 .023 .016 .011 0""",
    },
    "cfht": {
        "u": """0 .026 .113 .240 .350 .457 .553 .611 .642 .630 .622 .708 .840 .905 .945 1 .959 .724 .371 .124 .034 .012
            .005 .003 0""",
        "g": "0 .014 .198 .648 .808 .850 .902 .948 .958 .985 1 .960 .923 .911 .931 .902 .752 .491 .146 .015 0",
        "r": "0 .009 .057 .261 .642 .836 .834 .866 .932 .983 1 .988 .943 .839 .706 .686 .384 .052 .004 0",
        "i": """0 .008 .030 .129 .457 .882 1 .994 .985 .952 .777 .839 .879 .862 .816 .757 .685 .593 .505 .364 .137
            .026 .005 0""",
        "z": """0 .005 .014 .055 .253 .729 1 .976 .931 .862 .787 .717 .620 .562 .516 .412 .312 .298 .284 .279 .241
            .196 .141 .084 .025 0""",
    },
}
STEP = 5.0  # [Angstrom] of the sums in `synthetic_flux`; templates have lines about this wide


def throughput(survey: str, band: str) -> tuple[np.ndarray, np.ndarray]:
    """Wavelength [Angstrom] and relative system response of a band, tabulated; it is linear in between, 0 outside."""
    first, step = FIRST_AND_STEP[survey][band]
    response = np.array(RESPONSE[survey][band].split(), dtype=float)
    return first + step * np.arange(len(response)), response


def synthetic_flux(photon_rate, survey: str, band: str) -> float:
    """AB flux of a spectrum through a band, in units that are the same for all bands (their ratios are colours).

    `photon_rate` gives the photons per unit wavelength at wavelengths [Angstrom], shape (n,). The AB reference has a
    flux that is constant per unit frequency, hence a photon rate that goes as 1/wavelength (Fukugita et al. 1996).
    """
    tabulated, response = throughput(survey, band)
    wave = np.arange(tabulated[0], tabulated[-1] + STEP, STEP)
    through = np.interp(wave, tabulated, response)
    return float((photon_rate(wave) * through).sum() / (through / wave).sum())
