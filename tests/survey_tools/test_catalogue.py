import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, ICRS, Angle, Galactic, SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from survey_tools.catalogue import read_catalogue, split_by_sky
from survey_tools.errors import CatalogueError

SKYSERVER = Path(__file__).parents[2].parent / "shared" / "data" / "protocol" / "sdss_xid_im.txt"
BIG = 1237653651835781245  # an SDSS objID: 19 digits, more than a float64 holds
FORMATS = {
    "csv": "ascii.csv",
    "ecsv": "ascii.ecsv",
    "fits": "fits",
    "parquet": "parquet",
    "vot": "votable",
    "xml": "votable",
}


def table(**columns) -> Table:
    return Table({"object_id": [BIG, BIG + 1, 7], "ra": [0.0, 359.99, 12.5], "dec": [-90.0, 1.25, 90.0]} | columns)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refuse(path, *words: str) -> None:
    """The catalogue is refused with one line that holds the file and `words`."""
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message, message


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_catalogue(tmp_path, suffix):
    path = tmp_path / f"catalogue.{suffix}"
    frame = {"run": [94, 1000, 8162], "rerun": [301] * 3, "camcol": [1, 3, 6], "field": [11, 12, 13]}
    table(redshift=[0.1, np.nan, 0.3], **frame, note=["a", "b", "c"]).write(path, format=FORMATS[suffix])
    catalogue = read_catalogue(path)
    assert catalogue.colnames == ["object_id", "ra", "dec", "redshift", "run", "rerun", "camcol", "field"]
    assert list(catalogue["object_id"]) == [str(BIG), str(BIG + 1), "7"]
    assert_array_equal(catalogue["ra"], [0.0, 359.99, 12.5])
    assert_array_equal(catalogue["dec"], [-90.0, 1.25, 90.0])
    assert_array_equal(catalogue["redshift"], [0.1, np.nan, 0.3])
    assert catalogue["ra"].dtype == catalogue["redshift"].dtype == np.float64
    for name, values in frame.items():
        assert catalogue[name].dtype == np.int32
        assert_array_equal(catalogue[name], values)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_content_decides_where_the_suffix_says_nothing(tmp_path, suffix):
    path = tmp_path / "catalogue.dat"
    table().write(path, format=FORMATS[suffix])
    assert list(read_catalogue(path)["object_id"]) == [str(BIG), str(BIG + 1), "7"]


def test_a_parquet_file_called_csv_is_read_as_parquet(tmp_path):
    table().write(tmp_path / "catalogue.csv", format="parquet")
    assert_array_equal(read_catalogue(tmp_path / "catalogue.csv")["dec"], [-90.0, 1.25, 90.0])


def test_columns_that_are_not_there(tmp_path):
    table().write(tmp_path / "c.ecsv")
    catalogue = read_catalogue(tmp_path / "c.ecsv")
    assert catalogue.colnames == ["object_id", "ra", "dec", "redshift"]
    assert np.isnan(catalogue["redshift"]).all()


def test_csv_as_skyserver_writes_it(tmp_path):
    rows = f"{BIG},2.02344282607,14.8398204075,null,1904,301,3,163\n{BIG + 1},2.1,14.9,0.07,1904,301,3,163\n"
    path = write(tmp_path / "c.csv", f"#Table1\nobject_id,ra,dec,redshift,run,rerun,camcol,field\n{rows}")
    catalogue = read_catalogue(path)
    assert list(catalogue["object_id"]) == [str(BIG), str(BIG + 1)]
    assert_array_equal(catalogue["ra"], [2.02344282607, 2.1])
    assert_array_equal(catalogue["redshift"], [np.nan, 0.07])
    assert_array_equal(catalogue["run"], [1904, 1904])


@pytest.mark.skipif(not SKYSERVER.exists(), reason="the recorded answer of SkyServer is not here")
def test_a_recorded_answer_of_skyserver(tmp_path):
    text = SKYSERVER.read_text()
    path = write(tmp_path / "c.csv", text)
    catalogue = read_catalogue(path)
    first = text.splitlines()[2].split(",")
    assert [catalogue["object_id"][0], float(catalogue["ra"][0]), int(catalogue["field"][0])] == [
        first[2],
        float(first[0]),
        int(first[6]),
    ]
    assert len(catalogue) == len(text.split()) - 2


def test_csv_of_a_spreadsheet(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(b'\xef\xbb\xbfOBJECT_ID,RA,Dec\r\n0012,1,2\r\n"NGC 1,a",3,4\r\n')
    catalogue = read_catalogue(path)
    assert list(catalogue["object_id"]) == ["0012", "NGC 1,a"]
    assert_array_equal(catalogue["dec"], [2.0, 4.0])


def test_identifiers_longer_than_64_bits(tmp_path):
    path = write(tmp_path / "c.csv", "object_id,ra,dec\n99999999999999999999991,1,2\n99999999999999999999992,1,3\n")
    assert list(read_catalogue(path)["object_id"]) == ["99999999999999999999991", "99999999999999999999992"]


def test_whole_numbers_stored_as_floats_are_identifiers_while_exact(tmp_path):
    Table({"object_id": [1.0, 2.0], "ra": [1, 2], "dec": [3, 4]}).write(tmp_path / "c.fits")
    assert list(read_catalogue(tmp_path / "c.fits")["object_id"]) == ["1", "2"]
    table(object_id=[5.0, float(BIG), 7.0]).write(tmp_path / "d.fits")
    refuse(tmp_path / "d.fits", "row 2", "1.237653651835781", "digits")


@pytest.mark.parametrize(
    ("suffix", "unit"),
    [(s, unit) for s in ("ecsv", "vot") for unit in ("deg", "rad", "arcmin")] + [("ecsv", "hourangle")],
)
def test_angles_in_other_units_become_degrees(tmp_path, suffix, unit):
    ra, dec = ([10.0, 200.0, 359.0] * u.deg).to(unit), ([-80.0, 0.0, 80.0] * u.deg).to(unit)
    QTable({"object_id": [1, 2, 3], "ra": ra, "dec": dec}).write(tmp_path / f"c.{suffix}", format=FORMATS[suffix])
    catalogue = read_catalogue(tmp_path / f"c.{suffix}")
    assert_allclose(catalogue["ra"], [10, 200, 359], rtol=1e-14)
    assert_allclose(catalogue["dec"], [-80, 0, 80], rtol=1e-14)


def test_longitudes_are_angles(tmp_path):
    QTable({"object_id": [1], "ra": Angle([1.5] * u.hourangle), "dec": Angle([2.5] * u.deg)}).write(tmp_path / "c.ecsv")
    assert_allclose(read_catalogue(tmp_path / "c.ecsv")["ra"], 22.5)


@pytest.mark.parametrize("unit", ["h", "m", "mag"])
def test_units_that_are_no_angle_are_refused(tmp_path, unit):
    data = table()
    data["ra"].unit = unit
    data.write(tmp_path / "c.ecsv")
    refuse(tmp_path / "c.ecsv", f"ra is in {unit}", "give degrees")


def test_a_range_is_checked_in_degrees(tmp_path):
    data = table(dec=[0.1, 1.7, 0.0])
    data["dec"].unit = "rad"
    data.write(tmp_path / "c.ecsv")
    refuse(tmp_path / "c.ecsv", "row 2", "dec is 1.7", "rad")


@pytest.mark.parametrize("unit", ["degrees", "DEG"])
def test_misspelt_degrees_are_degrees(tmp_path, unit):
    text = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: object_id, datatype: int64}\n"
    text += f"# - {{name: ra, unit: {unit}, datatype: float64}}\n# - {{name: dec, datatype: float64}}\n"
    path = write(tmp_path / "c.ecsv", text + "object_id ra dec\n1 10.0 20.0\n")
    assert_array_equal(read_catalogue(path)["ra"], [10.0])


BAD_ROWS = {  # second data row: words that the message must hold
    "1,10,20": ("row 2", "object_id is '1'", "row 1"),
    ",10,20": ("row 2", "object_id is missing"),
    "' ',10,20": ("row 2", "object_id"),
    "2,nan,20": ("row 2", "ra is nan"),
    "2,,20": ("row 2", "ra is missing"),
    "2,null,20": ("row 2", "ra is missing"),
    "2,10": ("row 2", "dec is missing"),
    "2,360.001,20": ("row 2", "ra is 360.001", "360"),
    "2,-180.5,20": ("row 2", "ra is -180.5"),
    "2,inf,20": ("row 2", "ra is inf"),
    "2,10,90.5": ("row 2", "dec is 90.5", "-90"),
    "2,10,-91": ("row 2", "dec is -91"),
    "2,02:34:56.7,20": ("row 2", "ra is '02:34:56.7'", "not text"),
    "2,10,+20d15m": ("row 2", "dec is '+20d15m'", "not text"),
    "2,10 11 12,20": ("row 2", "ra is '10 11 12'", "not text"),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_impossible_rows_are_refused_with_row_and_value(tmp_path, row):
    path = write(tmp_path / "c.csv", f"object_id,ra,dec\n1,10,20\n{row.replace(chr(39), chr(34))}\n3,30,40\n")
    refuse(path, *BAD_ROWS[row])


def test_rows_count_from_the_first_data_row(tmp_path):
    path = write(tmp_path / "c.csv", "#Table1\nobject_id,ra,dec\n1,10,20\n2,10,95\n3,10,96\n")
    refuse(path, "row 2", "1 more")


def test_numbers_written_as_text_are_numbers(tmp_path):
    table(ra=["10.5", "11.5", "12.5"]).write(tmp_path / "c.fits")
    assert_array_equal(read_catalogue(tmp_path / "c.fits")["ra"], [10.5, 11.5, 12.5])


def test_a_negative_longitude_beside_those_beyond_180_is_refused(tmp_path):
    path = write(tmp_path / "c.csv", "object_id,ra,dec\n1,350,20\n2,-1,20\n")
    refuse(path, "row 2", "ra is -1")


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "vot", "parquet"])
def test_masked_positions_are_refused(tmp_path, suffix):
    table(ra=MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])).write(
        tmp_path / f"c.{suffix}", format=FORMATS[suffix]
    )
    refuse(tmp_path / f"c.{suffix}", "row 2", "ra is")


@pytest.mark.parametrize(
    ("redshift", "words"), [([0.1, -3.2, 0.2], ("row 2", "-3.2")), (["a", "0.1", "0.2"], ("row 1", "'a'"))]
)
def test_impossible_redshifts_are_refused(tmp_path, redshift, words):
    table(redshift=redshift).write(tmp_path / "c.ecsv")
    refuse(tmp_path / "c.ecsv", "redshift", *words)


def test_missing_columns_are_named_with_those_present(tmp_path):
    refuse(write(tmp_path / "c.csv", "object_id,ra,declination\n1,2,3\n"), "no column dec", "declination")
    refuse(write(tmp_path / "d.csv", "name\n1\n"), "object_id nor ra nor dec")


def test_columns_that_differ_in_case_only_are_refused(tmp_path):
    refuse(write(tmp_path / "c.csv", "object_id,ra,RA,dec\n1,2,2,3\n"), "'ra'", "'RA'")


def test_part_of_a_frame_is_refused(tmp_path):
    table(run=[1, 1, 1], camcol=[1, 1, 1]).write(tmp_path / "c.ecsv")
    refuse(tmp_path / "c.ecsv", "rerun nor field", "none of them")


def test_frame_numbers_may_be_text_but_must_be_whole(tmp_path):
    frame = {"run": [94, 94, 94], "camcol": [1, 1, 1], "field": [11, 12, 13]}
    table(rerun=["301", "301", " 301"], **frame).write(tmp_path / "c.ecsv")
    assert_array_equal(read_catalogue(tmp_path / "c.ecsv")["rerun"], [301, 301, 301])
    table(rerun=[301, 301, 301], **frame | {"run": [94, 94.5, 94]}).write(tmp_path / "d.ecsv")
    refuse(tmp_path / "d.ecsv", "row 2", "run is 94.5")


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits", "vot"])
def test_an_empty_catalogue_is_refused(tmp_path, suffix):
    table()[:0].write(tmp_path / f"c.{suffix}", format=FORMATS[suffix])
    refuse(tmp_path / f"c.{suffix}", "no rows")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 100, b"<html><body>Error</body></html>"])
def test_files_that_are_no_catalogue_are_refused(tmp_path, suffix, content):
    (tmp_path / f"c.{suffix}").write_bytes(content)
    refuse(tmp_path / f"c.{suffix}")


@pytest.mark.parametrize("suffix", ["fits", "parquet", "vot"])
def test_truncated_files_are_refused(tmp_path, suffix):
    many = Table({"object_id": np.arange(5000), "ra": np.linspace(0, 1, 5000), "dec": np.linspace(0, 1, 5000)})
    many.write(tmp_path / f"c.{suffix}", format=FORMATS[suffix])
    whole = (tmp_path / f"c.{suffix}").read_bytes()
    (tmp_path / f"c.{suffix}").write_bytes(whole[: len(whole) // 2])
    refuse(tmp_path / f"c.{suffix}")


def test_what_is_not_there_is_refused(tmp_path):
    refuse(tmp_path / "none.csv", "No such file")
    refuse(tmp_path, "directory")


def test_columns_with_several_values_a_row_are_refused(tmp_path):
    table(ra=np.ones((3, 2))).write(tmp_path / "c.fits")
    refuse(tmp_path / "c.fits", "ra", "(2,)")


def field(count: int, side: float, seed: int = 0, ra: float = 0.0, dec: float = 0.0) -> SkyCoord:
    """Positions in a square of `side` [deg] around (ra, dec), also across RA 0 and over a pole."""
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-side / 2, side / 2, (2, count))
    return SkyCoord(ra * u.deg, dec * u.deg).spherical_offsets_by(east * u.deg, north * u.deg)


@pytest.mark.parametrize("dec", [0.0, 60.0, 90.0, -89.99])
def test_no_held_out_object_is_linked_to_another(dec):
    position, link = field(600, 0.5, dec=dec), 36.0
    held_out = split_by_sky(position, 150, link, np.random.default_rng(1))
    assert held_out.sum() == 150
    between = position[held_out][:, None].separation(position[~held_out][None, :])
    assert between.arcsec.min() > link


def test_groups_are_friends_of_friends_as_brute_force_finds_them():
    position, link = field(400, 0.3, ra=0.0), 30.0
    near = position[:, None].separation(position[None, :]).arcsec < link
    count, group = connected_components(coo_array(near), directed=False)
    held_out = split_by_sky(position, 100, Angle(link, "arcsec"), np.random.default_rng(2))
    per_group = np.bincount(group, held_out) / np.bincount(group)
    assert count < 400
    assert set(per_group) == {0.0, 1.0}


def test_the_split_is_that_of_the_seed():
    position = field(300, 1.0)
    first, again, other = (split_by_sky(position, 60, 36, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("test_size", [0, 300])
def test_none_or_all_may_be_held_out(test_size):
    assert split_by_sky(field(300, 1.0), test_size, 36, np.random.default_rng(0)).sum() == test_size


def clumps(*sizes: int) -> SkyCoord:
    """Groups of objects 1" from their neighbours, a degree apart."""
    ra = np.concatenate([index + np.arange(size) / 3600 for index, size in enumerate(sizes)])
    return SkyCoord(ra * u.deg, np.zeros(len(ra)) * u.deg)


@pytest.mark.parametrize("seed", range(20))
def test_the_exact_number_is_found_where_any_choice_of_groups_gives_it(seed):
    held_out = split_by_sky(clumps(5, 5, 7, 7, 11), 12, 2, np.random.default_rng(seed))  # only 5 + 7
    assert held_out.sum() == 12


@pytest.mark.parametrize(("wanted", "nearest"), [(3, "4"), (5, "4"), (7, "8"), (11, "12")])
def test_an_impossible_number_is_refused_with_the_nearest_possible(wanted, nearest):
    with pytest.raises(CatalogueError, match=f"nearest possible size is {nearest}$"):
        split_by_sky(clumps(4, 4, 4), wanted, 2, np.random.default_rng(0))


def test_more_than_there_are_is_refused():
    with pytest.raises(CatalogueError, match="301 cannot be taken from 300"):
        split_by_sky(field(300, 1.0), 301, 36, np.random.default_rng(0))


def test_every_isolated_object_is_as_likely_to_be_held_out():
    position = clumps(*[1] * 40)
    drawn = np.mean([split_by_sky(position, 10, 2, np.random.default_rng(seed)) for seed in range(2000)], axis=0)
    assert_allclose(drawn, 0.25, atol=0.05)  # five standard deviations


def test_a_survey_of_half_a_million_is_split_in_seconds():
    rng = np.random.default_rng(0)
    position = SkyCoord(
        rng.uniform(0, 360, 500_000) * u.deg, np.degrees(np.arcsin(rng.uniform(-1, 1, 500_000))) * u.deg
    )
    assert split_by_sky(position, 50_000, 36, rng).sum() == 50_000


NEAR = SkyCoord([150.1, 12.25] * u.deg, [2.1, -35.5] * u.deg)  # two galaxies, by their true positions in ICRS


def assert_near(catalogue: Table, apart: float = 1e-3) -> None:
    """The catalogue has the two galaxies where they are, within `apart` [arcsec]."""
    found = SkyCoord(catalogue["ra"], catalogue["dec"])
    assert found.separation(NEAR).arcsec.max() < apart


HEADERS = {  # cards that state a frame: that frame
    "RADESYS=FK4 EQUINOX=1950.0": FK4(equinox="B1950"),
    "EQUINOX=1950.0": FK4(equinox="B1950"),
    "RADECSYS=FK4": FK4(equinox="B1950"),
    "RADESYS=FK5 EQUINOX=1975.0": FK5(equinox="J1975"),
    "EQUINOX=2013.5": FK5(equinox="J2013.5"),
    "EQUINOX=J2000.0": FK5(equinox="J2000"),
    "RADESYS=FK5": FK5(equinox="J2000"),
    "EPOCH=1950.0": FK4(equinox="B1950"),
    "RADESYS=ICRS EQUINOX=2000.0": ICRS(),
    "EPOCH=2016.0": ICRS(),  # of the observation
    "RADESYS=GALACTIC": Galactic(),
}


def in_frame(frame) -> Table:
    """The two galaxies by their positions in another frame, in columns called ra and dec."""
    angles = NEAR.transform_to(frame).spherical
    return Table({"object_id": ["a", "b"], "ra": angles.lon.deg, "dec": angles.lat.deg})


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "parquet", "csv"])
@pytest.mark.parametrize("cards", HEADERS)
def test_positions_of_the_frame_that_is_stated_become_icrs(tmp_path, cards, suffix):
    data, path = in_frame(HEADERS[cards]), tmp_path / f"c.{suffix}"
    for card in cards.split():
        key, value = card.split("=")
        data.meta[key] = float(value) if value.replace(".", "").isdigit() else value
    if suffix == "csv":
        lines = [f"# {key} = {value}" for key, value in data.meta.items()]
        rows = [f"{row['object_id']},{float(row['ra'])!r},{float(row['dec'])!r}" for row in data]
        write(path, "\n".join([*lines, "object_id,ra,dec", *rows]) + "\n")
    else:
        data.write(path, format=FORMATS[suffix])
    assert_near(read_catalogue(path))


@pytest.mark.parametrize("cards", ["RADESYS=GAPPT", "EQUINOX=soon"])
def test_a_frame_that_is_not_known_is_refused_with_its_name(tmp_path, cards):
    data = in_frame(ICRS())
    data.meta = dict([cards.split("=")])
    data.write(tmp_path / "c.ecsv")
    refuse(tmp_path / "c.ecsv", cards.split("=")[1], "ICRS")


@pytest.mark.parametrize("by_reference", [True, False])
@pytest.mark.parametrize(
    ("system", "equinox", "frame"),
    [
        ("eq_FK4", "B1950", FK4(equinox="B1950")),
        ("eq_FK5", "J1980", FK5(equinox="J1980")),
        ("ICRS", "", ICRS()),
        ("galactic", "", Galactic()),
    ],
)
def test_coosys_of_a_votable_is_the_frame(tmp_path, system, equinox, frame, by_reference):
    data, ref = in_frame(frame), ' ref="B"' if by_reference else ""
    cells = "".join(f"<TR><TD>{n}</TD><TD>{float(r)!r}</TD><TD>{float(d)!r}</TD></TR>" for n, r, d in data.iterrows())
    others = '<COOSYS ID="J" system="ICRS"/>' if by_reference else ""
    path = write(
        tmp_path / "c.vot",
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f'{others}<COOSYS ID="B" system="{system}"' + (f' equinox="{equinox}"' if equinox else "") + "/><TABLE>"
        '<FIELD name="object_id" datatype="char" arraysize="*"/>'
        f'<FIELD name="ra" datatype="double" unit="deg"{ref}/><FIELD name="dec" datatype="double" unit="deg"{ref}/>'
        f"<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>",
    )
    assert_near(read_catalogue(path))


@pytest.mark.parametrize(
    ("names", "frame"),
    [
        (("RAJ2000", "DEJ2000"), ICRS()),
        (("RA_ICRS", "DE_ICRS"), ICRS()),
        (("ALPHA_J2000", "DELTA_J2000"), ICRS()),
        (("RAB1950", "DEB1950"), FK4(equinox="B1950")),
        (("GLON", "GLAT"), Galactic()),
        (("l", "b"), Galactic()),
    ],
)
@pytest.mark.parametrize("identifier", ["objID", "NUMBER", "source_id"])
def test_names_that_archives_give(tmp_path, names, frame, identifier):
    data = in_frame(frame)
    data.rename_columns(["object_id", "ra", "dec"], [identifier, *names])
    data.write(tmp_path / "c.csv")
    catalogue = read_catalogue(tmp_path / "c.csv")
    assert list(catalogue["object_id"]) == ["a", "b"]
    assert_near(catalogue)


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "parquet"])
@pytest.mark.parametrize("frame", [ICRS(), FK4(equinox="B1950"), Galactic()])
@pytest.mark.parametrize("beside", [True, False])
def test_columns_of_sky_coordinates_and_of_times(tmp_path, suffix, frame, beside):
    coord = NEAR.transform_to(frame)
    data = QTable({"object_id": [1, 2], "coord": coord, "seen": Time([51544.5, 51545.5], format="mjd")})
    if beside:
        data["ra"], data["dec"] = coord.spherical.lon, coord.spherical.lat
    data.write(tmp_path / f"c.{suffix}", format=FORMATS[suffix])
    assert_near(read_catalogue(tmp_path / f"c.{suffix}"))


def test_parquet_as_pandas_writes_it(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "ra": [1.5, 2.5, 3.5],
            "dec": [-1.0, 0.0, 1.0],
            "redshift": [0.1, None, 0.3],
            "kind": pd.Categorical(["E", None, "S"]),
            "note": ["x", None, "z"],
        },
        index=pd.Index([BIG, BIG + 1, BIG + 3], name="object_id"),
    )
    frame.to_parquet(tmp_path / "index.parquet")
    frame.reset_index().astype({"object_id": "category"}).to_parquet(tmp_path / "category.parquet")
    named = frame.reset_index().astype({"object_id": str}).astype({"object_id": "category", "ra": "Float64"})
    named.sample(frac=1, random_state=1).sort_values("ra").to_parquet(tmp_path / "text.parquet")
    for name in ("index", "category", "text"):
        catalogue = read_catalogue(tmp_path / f"{name}.parquet")
        assert list(catalogue["object_id"]) == [str(BIG), str(BIG + 1), str(BIG + 3)]
        assert_array_equal(catalogue["ra"], [1.5, 2.5, 3.5])
        assert_array_equal(catalogue["redshift"], [0.1, np.nan, 0.3])
    frame.reset_index().astype({"object_id": object}).assign(object_id=["a", None, "c"]).to_parquet(
        tmp_path / "n.parquet"
    )
    refuse(tmp_path / "n.parquet", "row 2", "object_id is missing")


def ldac(path: Path, *chips: Table, cards: str = "") -> Path:
    """A catalogue as SExtractor writes it: the header of each chip's image, then its objects."""
    hdus = [fits.PrimaryHDU()]
    for chip in chips:
        image = Table({"Field Header Card": [f"{'SIMPLE  =                    T':<80}{cards:<80}"]})
        hdus += [fits.BinTableHDU(image, name="LDAC_IMHEAD"), fits.BinTableHDU(chip, name="LDAC_OBJECTS")]
    fits.HDUList(hdus).writeto(path)
    return path


def test_objects_of_ldac_are_those_of_all_chips(tmp_path):
    data = Table(
        {"NUMBER": [1, 2], "ALPHA_J2000": NEAR.ra.deg, "DELTA_J2000": NEAR.dec.deg, "VIGNET": np.ones((2, 3, 3))}
    )
    assert_near(read_catalogue(ldac(tmp_path / "one.cat", data)))
    chips = read_catalogue(ldac(tmp_path / "two.cat", data[:1], data[1:]))
    assert list(chips["object_id"]) == ["1", "2"]
    assert_near(chips)
    refuse(ldac(tmp_path / "twice.cat", data, data), "row 3", "object_id is '1'")


def test_the_image_of_ldac_says_which_frame_its_objects_are_in(tmp_path):
    data = in_frame(FK5(equinox="J1990"))
    data.rename_columns(["object_id", "ra", "dec"], ["NUMBER", "X_WORLD", "Y_WORLD"])
    assert_near(read_catalogue(ldac(tmp_path / "c.cat", data, cards="EQUINOX =               1990.0 / mean equinox")))


TEXTS = {  # tables of text, of the same two galaxies
    "tabs": "object_id\tra\tdec\na\t150.1\t2.1\nb\t12.25\t-35.5\n",
    "semicolons": "object_id;ra;dec\na;150.1;2.1\nb;12.25;-35.5\n",
    "decimal commas": "object_id;ra;dec\na;150,1;2,1\nb;12,25;-35,5\n",
    "bars": "object_id|ra|dec\na|150.1|2.1\nb|12.25|-35.5\n",
    "blanks": "object_id   ra  dec\na 150.1  2.1\nb 12.25 -35.5\n",
    "names in a comment": "# object_id ra dec\na 150.1 2.1\nb 12.25 -35.5\n",
    "SkyServer": "#Table1\nobjID,ra,dec\na,150.1,2.1\nb,12.25,-35.5\n",
    "SExtractor": "#   1 NUMBER       Running number\n#   2 ALPHA_J2000  Right ascension  [deg]\n"
    "#   3 DELTA_J2000  Declination  [deg]\n  1 150.1  2.1\n  2 12.25 -35.5\n",
    "VizieR": '#Coosys J2000:  eq_FK5 J2000\n#Name: x\nid\tRAJ2000\tDEJ2000\n\t"h:m:s"\t"d:m:s"\n'
    "--\t-----------\t-----------\na\t10 00 24.00\t+02 06 00.0\nb\t00 49 00.00\t-35 30 00.0\n",
    "sexagesimal": "object_id,ra,dec\na,10:00:24.0,+02:06:00\nb,0:49:00,-35:30:00\n",
    "sexagesimal, with letters": "object_id,ra,dec\na,10h00m24.0s,+2d06m00s\nb,12d15m,-35d30m\n",
    "from -180 to 180": "object_id,ra,dec\na,150.1,2.1\nb,12.25,-35.5\nc,-10.5,0\n",
}


@pytest.mark.parametrize("dialect", TEXTS)
def test_dialects_of_text(tmp_path, dialect):
    catalogue = read_catalogue(write(tmp_path / "c.txt", TEXTS[dialect]))
    assert_near(catalogue[:2], 0.03)  # FK5 and ICRS lie so far apart
    if dialect.startswith("from"):
        assert catalogue["ra"][2] == 349.5


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress])
def test_packed_tables(tmp_path, packed):
    (tmp_path / "c.csv.x").write_bytes(packed(TEXTS["semicolons"].encode()))
    assert_near(read_catalogue(tmp_path / "c.csv.x"))


def test_minus_zero_degrees_are_south(tmp_path):
    path = write(tmp_path / "c.csv", "object_id,ra,dec\na,10:00:00,-00:30:00\n")
    assert_array_equal(read_catalogue(path)["dec"], [-0.5])


def test_an_unknown_redshift_that_is_written_as_a_number_is_unknown(tmp_path, caplog):
    table(redshift=[0.1, -9999.0, -1.0]).write(tmp_path / "c.ecsv")
    assert_array_equal(read_catalogue(tmp_path / "c.ecsv")["redshift"], [0.1, np.nan, np.nan])
    assert "2 of 3 redshifts" in caplog.text


ROUNDED = [str(int(float(BIG + 1000 * n))) for n in range(3)]
LOST = {  # an SDSS objID that was a floating-point number, as programs write it
    "exponent": [f"{BIG:.6E}"],
    "point": [f"{float(BIG):.1f}"],
    "all digits": ROUNDED,
    "float": [float(BIG)],
    "integer": [int(name) for name in ROUNDED],
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("how", LOST)
def test_an_identifier_that_lost_its_digits_is_refused_in_every_format(tmp_path, suffix, how):
    ids = LOST[how]
    data = Table({"object_id": ids, "ra": np.arange(len(ids)) + 1.0, "dec": np.zeros(len(ids))})
    data.write(tmp_path / f"c.{suffix}", format=FORMATS[suffix])
    refuse(tmp_path / f"c.{suffix}", "row 1", "loses digits")


def test_any_column_can_be_named(tmp_path):
    Table({"name": ["01", "02"], "id": [7, 8], "RA_DEG": NEAR.ra.deg, "DECL": NEAR.dec.deg}).write(tmp_path / "c.csv")
    catalogue = read_catalogue(tmp_path / "c.csv", {"object_id": "name", "ra": "RA_DEG", "dec": "DECL"})
    assert list(catalogue["object_id"]) == ["01", "02"]
    assert_near(catalogue)
    with pytest.raises(CatalogueError, match="no column DEC, which should be dec; its columns are name, id"):
        read_catalogue(tmp_path / "c.csv", {"ra": "RA_DEG", "dec": "DEC"})
    galactic = in_frame(Galactic())
    galactic.rename_columns(["ra", "dec"], ["long", "lat"])
    galactic.write(tmp_path / "g.csv")
    assert_near(read_catalogue(tmp_path / "g.csv", {"l": "long", "b": "lat"}))
