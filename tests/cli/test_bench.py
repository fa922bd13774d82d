import json

import pytest
from click.testing import CliRunner

from cli import bench
from cli.main import galtrans
from survey_tools.errors import GaltransError


def test_a_stage_is_measured_beside_a_plain_alternative(tmp_path, capfd):
    out = tmp_path / "figures.json"
    result = CliRunner().invoke(galtrans, ["bench", "start_up", "--quick", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    (figure,) = json.loads(out.read_text())["figures"]
    assert (figure["stage"], figure["unit"], figure["target"]) == ("start", "s", "<= 0.3 s")
    assert abs(figure["rate"]) < 10  # a difference of two times, which can be below zero on a busy machine
    assert figure["reached"] == (figure["rate"] <= 0.3)
    assert figure["ratio"] == pytest.approx(1 + figure["rate"] / figure["plain"])
    heading, rule, row = capfd.readouterr().out.splitlines()
    assert heading.startswith("| stage | what | rate |")
    assert row.count("|") == rule.count("|") == heading.count("|")
    assert f"{figure['rate']:.4g} s" in row


def test_every_stage_has_its_script():
    assert all((bench.SCRIPTS / f"{stage}.py").is_file() for stage in bench.STAGES)


def test_a_stage_that_is_not_there_is_wrong_usage():
    result = CliRunner().invoke(galtrans, ["bench", "warp"])
    assert result.exit_code == 2
    assert "crossmatch" in result.output


def test_without_the_scripts_it_says_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "SCRIPTS", tmp_path / "benchmarks")
    with pytest.raises(GaltransError, match="run from a clone of the repository"):
        CliRunner().invoke(galtrans, ["bench"], catch_exceptions=False)


def test_a_script_that_fails_is_one_line_and_leaves_no_file(tmp_path, monkeypatch, capfd):
    (tmp_path / "start_up.py").write_text("raise SystemExit('no luck')")
    for name in ("together.py", "figures.py"):
        (tmp_path / name).write_text((bench.SCRIPTS / name).read_text())
    monkeypatch.setattr(bench, "SCRIPTS", tmp_path)
    with pytest.raises(GaltransError, match="a benchmark failed; what it said stands above"):
        CliRunner().invoke(galtrans, ["bench", "start_up", "--out", str(tmp_path / "f.json")], catch_exceptions=False)
    assert "no luck" in capfd.readouterr().err
    assert not (tmp_path / "f.json").exists()
