"""Samples of SDSS targets, each a row: which columns of which tables, and which of their rows."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u

BANDS = "ugriz"
KINDS = {"specObjID": str, "objID": str} | dict.fromkeys(
    ("run", "rerun", "camcol", "field", "mode", "sciencePrimary"), np.int32
)  # the 64-bit identifiers stay text, which loses no digit; all other columns are float
UNITS = {"ra": u.deg, "dec": u.deg, "petroRad_r": u.arcsec} | {
    f"{name}_{band}": unit
    for name, unit in {"rowc": u.pix, "colc": u.pix, "petroMag": u.mag, "extinction": u.mag}.items()
    for band in BANDS
}


@dataclass(frozen=True)
class TargetSample:
    """Spectroscopic galaxies of SDSS: which tables, how they are joined, and which rows of them.

    Attributes
    ----------
    name : str
        Its name on the command line.
    title : str
        One line that describes it.
    columns : tuple of str
        SQL of each column, those of COLUMNS and more; the last word is the name of the column in a table.
    tables : str
        SQL after FROM; s must be SpecObjAll and p PhotoObjAll, and each row has a specObjID of its own.
    where : str
        SQL after WHERE.
    source : str
        Where the selection is published.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    tables: str
    where: str
    source: str

    @property
    def names(self) -> list[str]:
        """Names of the columns of a table."""
        return [column_name(column) for column in self.columns]


def column_name(column: str) -> str:
    """Return the name of a column in a table by its SQL: `objID` for `p.objID`, `redshift` for `s.z AS redshift`."""
    return column.replace(".", " ").split()[-1]


COLUMNS = (
    *("s.specObjID", "p.objID", "p.ra", "p.dec", "s.z AS redshift", "s.zErr", "s.sciencePrimary"),
    *("p.run", "p.rerun", "p.camcol", "p.field", "p.mode", "p.petroRad_r"),
    *(f"p.{name}_{band}" for name in ("rowc", "colc", "petroMag", "extinction") for band in BANDS),
)
SAMPLES = {
    sample.name: sample
    for sample in [
        TargetSample(
            "main-galaxies",
            "Main Galaxy Sample of DR12: dereddened Petrosian r <= 17.8, 0 < z <= 0.4",
            COLUMNS,
            "SpecObjAll s JOIN PhotoObjAll p ON p.objID=s.bestObjID JOIN Photoz f ON f.objID=s.bestObjID "
            "JOIN galSpecInfo g ON g.specObjID=s.specObjID",
            "s.z>0 AND s.z<=0.4 AND s.zWarning=0 AND s.targetType='SCIENCE' AND s.survey='sdss' AND s.class='GALAXY' "
            "AND g.primtarget>=64 AND p.clean=1 AND p.insideMask=0 AND p.petroMag_r-p.extinction_r<=17.8",
            "Pasquet et al. 2019, A&A 621, A26, as published replications of it carry the query",
        )
    ]
}
