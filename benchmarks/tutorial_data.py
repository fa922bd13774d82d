"""Cut the small real frames of the tutorials out of the frames of a field.

    python benchmarks/tutorial_data.py --mirror MIRROR --out docs/tutorials/data

MIRROR is laid out as the Science Archive Server (MIRROR/sas/dr12/...). Each small frame has the header, calibration
and sky of the whole one, and the pixels around one galaxy. They lie in OUT as they do in the archive.
"""

import bz2
import io
import sys
from pathlib import Path

import click
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

PLACE = (38.57159, -7.09912)  # right ascension and declination of the galaxy [deg]; r = 18.39
NAME = "SDSS J023417.18-070556.8"
FIELD = {"run": 7264, "rerun": 301, "camcol": 3, "field": 111}
SIDE = 112  # [pixel]: a cutout of 64 x 64 fits in at any angle
FOLDER = "sas/dr12/boss/photoObj/frames/301/7264/3"


def cropped(path: Path) -> bytes:
    """A frame with the pixels around the galaxy alone, under bzip2."""
    with fits.open(path) as hdus:
        image, calibration, table = hdus[0], hdus[1], hdus[2].data[0]
        col, row = np.rint(WCS(image.header).wcs_world2pix([PLACE], 0)[0]).astype(int) - SIDE // 2
        rows, cols = slice(row, row + SIDE), slice(col, col + SIDE)
        header = image.header.copy()
        header["CRPIX1"] -= col
        header["CRPIX2"] -= row
        header.add_history(f"Pixels {col}:{col + SIDE}, {row}:{row + SIDE} of the frame, cut out by galtrans.")
        y, x = np.ravel(table["YINTERP"])[rows], np.ravel(table["XINTERP"])[cols]
        sky = np.reshape(table["ALLSKY"], (-1, 256))
        first, last = int(np.floor(y.min())), int(np.ceil(y.max())) + 1
        part = sky[first:last]
        columns = [
            fits.Column("ALLSKY", f"{part.size}E", dim=f"(256,{len(part)})", array=part[None]),
            fits.Column("XINTERP", f"{SIDE}E", array=x[None]),
            fits.Column("YINTERP", f"{SIDE}E", array=(y - first)[None]),
        ]
        small = fits.HDUList(
            [
                fits.PrimaryHDU(image.data[rows, cols], header),
                fits.ImageHDU(calibration.data[cols]),
                fits.BinTableHDU.from_columns(columns),
            ]
        )
        file = io.BytesIO()
        small.writeto(file, output_verify="silentfix")
        return bz2.compress(file.getvalue())


@click.command()
@click.option("--mirror", type=click.Path(exists=True, path_type=Path), required=True, help="Where whole frames are.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def main(mirror: Path, out: Path) -> None:
    """Write the frames and a catalogue of one galaxy."""
    for path in sorted((mirror / FOLDER).glob("frame-*-007264-3-0111.fits.bz2")):
        small = out / FOLDER / path.name
        small.parent.mkdir(parents=True, exist_ok=True)
        small.write_bytes(cropped(path))
        print(small, small.stat().st_size)
    row = {"object_id": NAME, "ra": PLACE[0], "dec": PLACE[1], **FIELD}
    Table(rows=[row]).write(out / "galaxy.csv", overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
