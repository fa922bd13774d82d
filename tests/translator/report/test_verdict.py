"""The verdict: counts over one fixed set of measures, so that no row gains by missing measures."""

import math

import pytest

from translator.report.verdict import (
    compare,
    distances,
    errors,
    fixed_set,
    judge_direction,
    redshifts_of_input,
    sentence,
)


def numbers(*value, half=0.1):
    """Return the numbers of a row, with intervals that extend by `half`, and the value as distance from the floor."""
    low, high = ([v and v + sign * half for v in value] for sign in (-1, 1))
    return {"value": list(value), "low": low, "high": high, "distance": [v and abs(v) for v in value]}


def facts(**values):
    return {"values": values, "references": {"floor": "", "oracle": "", "bilinear": ""}, "left_out": {}}


def judged(**values):
    return judge_direction(facts(**values), dict.fromkeys(values, 0.0))


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        (1.0, 2.0, "closer"),
        (2.0, 1.0, "farther"),
        (1.0, 1.14, "alike"),  # both half widths of 0.1 in quadrature are 0.1414
        (1.0, 1.15, "closer"),
        (1.0, 1.0, "alike"),
    ],
)
def test_a_difference_counts_beyond_both_intervals_in_quadrature(one, other, word):
    assert compare((one, 0.1), (other, 0.1)) == word


def test_errors_of_either_sign_do_not_cancel_between_bands():
    found = errors({"run": numbers(-1.0, 1.0, 0.5), "bilinear": numbers(0.2, 0.2, 0.2)}, 0.0)
    assert found["run"] == pytest.approx((1.0, 0.1))
    assert errors({"run": numbers(0.7)}, 0.68)["run"][0] == pytest.approx(0.02)


def test_a_row_that_lacks_half_of_the_bands_has_lost_the_measure():
    rows = {"whole": numbers(1.0, 1.0, 1.0, None), "half": numbers(0.0, None, None, None)}
    found = errors(rows, 0.0)
    assert found["whole"][0] == 1.0  # the last band is one that no row can have
    assert math.isinf(found["half"][0])
    assert compare(found["half"], found["whole"]) == "lost"
    assert compare(found["whole"], found["half"]) == "closer"


def test_the_set_is_the_same_for_all_rows_and_every_measure_is_counted_once():
    verdict = judged(
        a={"run": numbers(1.0), "bilinear": numbers(2.0)},
        b={"run": numbers(1.0), "bilinear": numbers(0.5)},
        c={"run": numbers(None), "bilinear": numbers(9.0)},
        d={"bilinear": numbers(9.0)},
        e={"run": numbers(9.0)},
        f={"run": numbers(None), "bilinear": numbers(None)},
    )
    assert verdict["measures"] == ["a", "b", "c", "d", "e"]  # nothing can have f
    counts = verdict["rows"]["run"]["against"]["bilinear"]
    assert counts == {"closer": 2, "farther": 1, "alike": 0, "lost": 2, "of": 5, "farther_in": ["b"]}
    other = verdict["rows"]["bilinear"]["against"]["run"]
    assert (other["closer"], other["farther"], other["lost"]) == (3, 1, 1)


def test_a_run_does_not_gain_by_a_measure_that_it_lacks_or_by_wide_intervals():
    measured = {"a": {"run": numbers(1.0), "bilinear": numbers(2.0)}, "b": {"bilinear": numbers(2.0)}}
    whole = judged(**measured)["rows"]["run"]["against"]["bilinear"]
    assert (whole["closer"], whole["of"]) == (1, 2)
    wide = {"a": {"run": numbers(3.0, half=5), "bilinear": numbers(2.0, half=5)}}
    assert judged(**wide)["rows"]["run"]["against"]["bilinear"]["alike"] == 1


def test_what_the_floor_or_the_oracle_lacks_says_nothing_of_a_run():
    against = judged(a={"run": numbers(1.0)}, b={"floor": numbers(0.0), "oracle": numbers(0.0)})["rows"]["run"][
        "against"
    ]
    assert [(each["closer"], each["alike"], each["lost"]) for each in against.values()] == [(0, 1, 1)] * 2


def test_what_is_at_the_floor_is_counted_over_the_same_set():
    verdict = judged(a={"run": numbers(0.5)}, b={"run": numbers(2.0)}, c={"run": numbers(5.0)}, d={"x": numbers(1.0)})
    run = verdict["rows"]["run"]
    assert (run["at_floor"], run["within_3"], run["of"]) == (1, 2, 4)
    assert distances(facts(a={"run": numbers(0.5, None, 1.5)}), "run") == {"a": 1.0}


def test_names_of_rows_are_not_looked_into():
    rows = {"run": numbers(1.0), "run, draws": numbers(2.0), "wiener": numbers(3.0)}
    against = judged(a=rows)["rows"]["run, draws"]["against"]
    assert {name: (each["closer"], each["farther"]) for name, each in against.items()} == {
        "run": (0, 1),
        "wiener": (1, 0),
    }


def test_the_input_s_redshifts_are_those_of_real_images_in_the_other_direction():
    other = facts(
        photoz_target_sigma_mad={"run": numbers(0.02), "floor": numbers(0.02)}, photoz_bias={"run": numbers(0.5)}
    )
    assert redshifts_of_input(other) == {"photoz_sigma_mad": numbers(0.02)}
    assert redshifts_of_input(facts()) == {}


def described(truth, *runs):
    """A report in which the first run is better than the second, and both are better than bilinear;
    the second lacks b.
    """
    rows = {run: numbers(float(k + 1)) for k, run in enumerate(runs)} | {
        "bilinear": numbers(9.0),
        "floor": numbers(0.0),
    }
    values = {"a": rows, "b": {runs[0]: numbers(1.0), "bilinear": numbers(0.0), "floor": numbers(0.0)}}
    direction = facts(**values) | {"verdict": judged(**values)}
    return {"runs": [{"name": run} for run in runs], "truth": truth, "directions": {"sdss_to_cfht": direction}}


def test_the_sentence_says_how_often_a_run_is_closer_and_farther():
    assert (
        sentence(described("/a/truth", "one", "two"), "sdss_to_cfht", "one")
        == "closer to the truth than bilinear in 1 of 2 measures, farther in 1; than two in 2 of 2, farther in 0"
    )
    assert (
        sentence(described(None, "one", "two"), "sdss_to_cfht", "two")
        == "closer to the real images than bilinear in 1 of 2 measures, farther in 0; than one in 0 of 2, "
        "farther in 1; 1 could not be measured"
    )


def test_many_runs_are_not_compared_with_each_other_in_sentences():
    assert "than two" not in sentence(described("/a/truth", "one", "two", "three", "four"), "sdss_to_cfht", "one")


def test_a_direction_without_numbers_has_a_verdict_too():
    report = {"runs": [{"name": "run"}], "truth": None, "directions": {"d": facts() | {"verdict": judged()}}}
    assert sentence(report, "d", "run") == "no measure could be compared"
    assert fixed_set({}) == []
