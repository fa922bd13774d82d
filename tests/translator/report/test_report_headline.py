"""The headline table: physical units, the middle band, and values beyond a cap."""

import pytest

from translator.metrics.table import MEASURES
from translator.report.verdict import HEADLINES, INPUT_ROW, headline_columns, headline_rows, judge_direction, matrix


def numbers(*value, half=0.01):
    return {
        "value": list(value),
        "low": [v and v - half for v in value],
        "high": [v and v + half for v in value],
        "distance": [None] * len(value),
    }


@pytest.fixture
def report():
    values = {
        "total_offset": {
            "run": numbers(-0.3, 0.1, 0.2),
            "bilinear": numbers(0.5, 0.5, 0.5),
            "floor": numbers(0.0, 0.0, 0.0),
        },
        "noise_amplitude": {"run": numbers(0.0, 0.0, 0.0), "bilinear": numbers(-1.0, -1.0, -1.0)},
        "signal_residual_real": {"run": numbers(0.25, 0.25, 0.25), "bilinear": numbers(None, None, 0.5)},
        "photoz_sigma_mad": {"run": numbers(0.02, 0.02, 0.02), "bilinear": numbers(0.02, 0.02, 0.02)},
    }
    perfect = {name: MEASURES[name].perfect for name in values}
    facts = {"bands": ["g", "r", "i"], "references": {"floor": "", "oracle": "", "bilinear": ""}, "values": values}
    facts |= {"verdict": judge_direction({"values": values}, perfect)}
    facts["input"] = {"photoz_sigma_mad": numbers(0.015, 0.015, 0.015)}
    measures = {name: {"perfect": MEASURES[name].perfect, "cap": MEASURES[name].cap} for name in values}
    return {"runs": [{"name": "run"}], "measures": measures, "directions": {"sdss_to_cfht": facts}}


def cells(report):
    columns = headline_columns(report)
    lines = headline_rows(report, "sdss_to_cfht", columns)
    return {
        line["name"]: {c["measure"]: cell for c, cell in zip(columns, line["cells"], strict=True)} for line in lines
    }


def test_rows_are_runs_then_competitors_floor_and_the_input(report):
    assert list(cells(report)) == ["run", "bilinear", "floor", INPUT_ROW]


def test_every_measure_of_the_headlines_exists():
    assert {name for each in HEADLINES for name in each.measures} <= set(MEASURES)


def test_the_number_is_that_of_the_middle_band_by_its_error_with_its_sign(report):
    cell = cells(report)["run"]["total_offset"]
    assert (cell["value"], cell["half"], cell["shade"]) == ("0.2", "± 0.01", "closer")
    assert cell["bands"] == "g −0.3, r 0.1, i 0.2"


def test_of_two_bands_in_the_middle_it_is_the_mean_error(report):
    values = report["directions"]["sdss_to_cfht"]["values"]["total_offset"]
    values["run"], values["bilinear"] = numbers(-0.1, 0.3, None), numbers(-0.1, -0.3, None)
    values["floor"] = numbers(0.0, 0.0, None)
    found = cells(report)
    assert (found["run"]["total_offset"]["value"], found["bilinear"]["total_offset"]["value"]) == ("±0.2", "−0.2")
    assert found["run"]["total_offset"]["shade"] == "alike"


def test_units_are_those_of_the_sky(report):
    found = cells(report)
    assert found["bilinear"]["noise_amplitude"]["value"] == "0.1"  # 1 dex too little noise
    assert found["run"]["signal_residual_real"]["value"] == "25"
    assert found["run"]["photoz_sigma_mad"] == {
        "value": "0.02",
        "half": "± 0.01",
        "bands": "all bands 0.02",
        "shade": "alike",
    }


def test_a_row_that_lacks_most_bands_has_no_number(report):
    assert cells(report)["bilinear"]["signal_residual_real"] is None


def test_what_is_at_the_cap_is_said_to_be_beyond(report):
    report["directions"]["sdss_to_cfht"]["values"]["total_offset"]["run"] = numbers(2.5, 2.5, 0.1)
    cell = cells(report)["run"]["total_offset"]
    assert (cell["value"], cell["half"]) == ("> 2.5", "")


def test_the_input_has_a_number_where_the_question_can_be_asked_of_it(report):
    found = cells(report)[INPUT_ROW]
    assert found["photoz_sigma_mad"]["value"] == "0.015"
    assert found["total_offset"] is None


def test_the_matrix_has_every_run_against_every_other_row(report):
    found = matrix(report, "sdss_to_cfht")
    assert found["columns"] == ["floor", "bilinear", "run"]
    (row,) = found["rows"]
    assert (row["name"], row["cells"][1]["closer"], row["cells"][1]["of"], row["cells"][2]) == ("run", 3, 4, None)
