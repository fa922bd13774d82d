"""The command as a user meets it: what is asked of a report, and what is said where it fails."""

import pytest
from click.testing import CliRunner

from cli.main import galtrans
from survey_tools.errors import GaltransError
from translator.evaluation import evaluate as evaluation
from translator.evaluation.requirements import RequirementError
from translator.evaluation.tables import Report

REPORT = {
    "runs": [{"name": "run"}],
    "directions": {
        "sdss_to_cfht": {
            "references": {"floor": "what it is", "bilinear": "what it is"},
            "verdict": {"rows": {"run": {"against": {"bilinear": {"closer": 61, "farther": 9, "lost": 0, "of": 82}}}}},
        },
    },
    "truth": "truth",
    "requirements": [],
}
FAILED = {"run": "run", "requirement": "sdss_to_cfht b.r <= 0.02", "value": 0.5, "holds": False, "reason": ""}


@pytest.fixture
def call(tmp_path, monkeypatch):
    """A function that runs the command on inputs that are there, with a report that is made up."""
    for name in ("run", "x.zarr", "y.zarr"):
        (tmp_path / name).mkdir()
    (tmp_path / "pairs.ecsv").touch()

    def run(*words, requirements=()):
        report = REPORT | {"requirements": list(requirements)}
        monkeypatch.setattr(evaluation, "evaluate", lambda *_: Report(tmp_path / "report", report, {}))
        inputs = [tmp_path / name for name in ("run", "x.zarr", "y.zarr", "pairs.ecsv")]
        words = ["evaluate", *inputs, "--out", tmp_path / "report", *words]
        return CliRunner().invoke(galtrans, [str(word) for word in words])

    return run


def test_it_says_the_verdict_on_every_run_and_direction(call):
    result = call()
    assert result.exit_code == 0, result.output
    said = "run, sdss_to_cfht: closer to the truth than bilinear in 61 of 82 measures, farther in 9\n"
    assert said in result.output


def test_a_requirement_that_fails_is_named_with_value_and_limit(call):
    result = call(requirements=[FAILED, FAILED | {"holds": True}])
    assert isinstance(result.exception, GaltransError)  # main() turns it into one line and exit code 1
    assert "1 of 2 requirements fail" in str(result.exception)
    assert "run: sdss_to_cfht b.r <= 0.02 fails: it is 0.5" in result.output


def test_a_report_is_not_replaced_unless_asked_for(call, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").touch()
    result = call()
    assert result.exit_code == 2
    assert "report.json exists already; choose another --out or pass --overwrite" in result.output
    assert call("--overwrite").exit_code == 0


def test_help_ends_with_an_example():
    said = CliRunner().invoke(galtrans, ["evaluate", "--help"]).output
    assert "galtrans evaluate runs/demo sdss.zarr cfht.zarr pairs.ecsv --truth truth --out report" in said


def test_a_requirement_on_what_there_is_not_is_wrong_usage(call, tmp_path, monkeypatch):
    def refuse(*_):
        raise RequirementError("limits.toml: no measure of sdss_to_cfht is called 'flux_bais'")

    (tmp_path / "limits.toml").touch()
    words = [
        "evaluate",
        *(tmp_path / name for name in ("run", "x.zarr", "y.zarr", "pairs.ecsv")),
        "--out",
        tmp_path / "r",
    ]
    call()
    monkeypatch.setattr(evaluation, "evaluate", refuse)
    result = CliRunner().invoke(galtrans, [str(word) for word in (*words, "--require", tmp_path / "limits.toml")])
    assert result.exit_code == 2
    assert "no measure of sdss_to_cfht is called 'flux_bais'" in result.output
