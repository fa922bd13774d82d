import copy

import pytest

from translator.evaluation.requirements import (
    Requirement,
    RequirementError,
    VerdictRequirement,
    describe_failure,
    judge,
    read_requirements,
)
from translator.report.verdict import sentence

KNOWN = (["sdss_to_cfht", "cfht_to_sdss"], ["flux_bias", "noise_ks"], "gr", ["bilinear", "wiener", "good", "bad"])
REPORT = {
    "runs": [{"name": "good"}, {"name": "bad"}],
    "directions": {
        "sdss_to_cfht": {
            "bands": ["g", "r"],
            "left_out": {"noise_ks": "it needs the truth"},
            "values": {
                "flux_bias": {
                    "good": {"value": [0.5, 0.02]},
                    "bad": {"value": [None, 0.021]},
                    "floor": {"value": [9.0, 9.0]},
                }
            },
            "verdict": {
                "rows": {
                    "good": {"against": {"bilinear": {"closer": 9, "farther": 1, "lost": 0}, "bad": {"closer": 10}}},
                    "bad": {"against": {"bilinear": {"closer": 2, "farther": 5, "lost": 3}, "good": {"closer": 0}}},
                }
            },
        }
    },
}


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "limits.toml"
        path.write_text(text)
        return path

    return write


def test_a_limit_is_of_one_band_or_of_all(written):
    one = read_requirements(written("[sdss_to_cfht]\nflux_bias.r = { max = 0.02 }"), *KNOWN)
    assert one == [Requirement("sdss_to_cfht", "flux_bias", "r", "max", 0.02)]
    every = read_requirements(written("[cfht_to_sdss]\nnoise_ks = { min = -1, max = 2 }"), *KNOWN)
    assert [(each.band, each.kind, each.limit) for each in every] == [
        ("g", "min", -1.0), ("g", "max", 2.0), ("r", "min", -1.0), ("r", "max", 2.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flux_bias.r = {", "cannot be read as TOML"),
        ("", "write lines such as"),
        ("[sdss_to_hst]\nflux_bias.r = { max = 1 }", "no direction is called 'sdss_to_hst'; known are sdss_to_cfht"),
        ("[sdss_to_cfht]\nflux_bais.r = { max = 1 }", "no measure of sdss_to_cfht is called 'flux_bais'"),
        (
            "[sdss_to_cfht]\nflux_bias.y = { max = 1 }",
            "no band of sdss_to_cfht.flux_bias is called 'y'; known are g, r",
        ),
        ("[sdss_to_cfht]\nflux_bias.r = { most = 1 }", "no limit of sdss_to_cfht.flux_bias.r is called 'most'"),
        ("[sdss_to_cfht]\nflux_bias.r = { max = '1' }", "must be a number"),
        ("[sdss_to_cfht]\nflux_bias.r = { max = nan }", "must be a number"),
        ("[sdss_to_cfht]\nflux_bias.r = 1", "is not a table of limits"),
        (
            "[sdss_to_cfht.verdict]\nbilinaer = { min_closer = 1 }",
            "no row of sdss_to_cfht.verdict is called 'bilinaer'; known are bilinear, wiener, good, bad",
        ),
        (
            "[sdss_to_cfht.verdict]\nbilinear = { max_closer = 1 }",
            "no limit of sdss_to_cfht.verdict.bilinear is called 'max_closer'; known are min_closer, max_farther",
        ),
        ("[sdss_to_cfht.verdict]\nbilinear = { min_closer = true }", "must be a number"),
        ("[sdss_to_cfht]\nverdict = 3", "is not a table of rows"),
    ],
)
def test_what_cannot_be_meant_is_named(written, text, said):
    with pytest.raises(RequirementError, match=said.replace(".", r"\.")):
        read_requirements(written(text), *KNOWN)


def test_every_run_is_judged_and_the_limit_itself_holds():
    wanted = [Requirement("sdss_to_cfht", "flux_bias", "r", "max", 0.02)]
    good, bad = judge(wanted, REPORT)
    assert (good["run"], good["holds"], good["value"]) == ("good", True, 0.02)
    assert (bad["run"], bad["holds"]) == ("bad", False)
    assert describe_failure(bad) == "bad: sdss_to_cfht flux_bias.r <= 0.02 fails: it is 0.021"


def test_what_was_not_measured_fails_and_says_why():
    wanted = [Requirement("sdss_to_cfht", name, "g", "min", -9.0) for name in ("noise_ks", "flux_bias")]
    judged = judge(wanted, REPORT)
    assert [each["holds"] for each in judged] == [False, False, True, False]
    assert (
        describe_failure(judged[0])
        == "good: sdss_to_cfht noise_ks.g >= -9 fails: it was not measured: it needs the truth"
    )
    assert "it has no value here" in describe_failure(judged[3])


def test_the_verdict_is_limited_by_counts(written):
    text = "[sdss_to_cfht.verdict]\nbilinear = { min_closer = 9, max_farther = 5, max_lost = 0 }"
    wanted = read_requirements(written(text), *KNOWN)
    assert wanted == [
        VerdictRequirement("sdss_to_cfht", "bilinear", kind, limit)
        for kind, limit in (("min_closer", 9.0), ("max_farther", 5.0), ("max_lost", 0.0))
    ]
    judged = judge(wanted, REPORT)
    assert [(each["run"], each["value"], each["holds"]) for each in judged] == [
        ("good", 9, True), ("bad", 2, False), ("good", 1, True), ("bad", 5, True), ("good", 0, True), ("bad", 3, False)
    ]  # fmt: skip
    said = "bad: sdss_to_cfht verdict: measures closer against bilinear >= 9 fails: it is 2"
    assert describe_failure(judged[1]) == said


def test_a_run_is_not_compared_with_itself_or_with_a_row_that_is_not_there():
    wanted = [VerdictRequirement("sdss_to_cfht", row, "min_closer", 5) for row in ("bad", "wiener")]
    judged = judge(wanted, REPORT)
    assert [(each["run"], each["value"]) for each in judged] == [("good", 10), ("good", None), ("bad", None)]
    assert "was not measured: this direction has no row wiener to compare with" in describe_failure(judged[1])


def test_a_row_that_a_direction_cannot_have_is_not_judged_there():
    report = copy.deepcopy(REPORT)
    report["runs"].append({"name": "good, draws"})
    report["directions"]["sdss_to_cfht"]["lacks"] = {"good, draws": "it has no draws in this direction"}
    wanted = [
        Requirement("sdss_to_cfht", "flux_bias", "r", "max", 0.02),
        VerdictRequirement("sdss_to_cfht", "bilinear", "min_closer", 5),
    ]
    assert judge(wanted, report) == judge(wanted, REPORT)
    assert sentence(report, "sdss_to_cfht", "good, draws") == "it has no draws in this direction"
