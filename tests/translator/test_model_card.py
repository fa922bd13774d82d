"""The card of a run: its YAML, its numbers, its code."""

import copy
import json
import re

import numpy as np
import pytest
import torch
import yaml

import translator
from survey_tools.errors import ArgumentError, RunError
from survey_tools.sharing.front_matter import front_matter
from translator.model_card import cell, model_card
from translator.runs.built_in import find_model
from translator.runs.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from translator.runs.facts import RunFacts, survey_domains, write_facts


def parts(text: str) -> tuple[dict, str]:
    empty, front, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front), body


@pytest.fixture(scope="module")
def run(tmp_path_factory, write_narrow_run):
    return write_narrow_run(tmp_path_factory.mktemp("card") / "narrow")


@pytest.fixture
def report(run, report_page):
    """A report whose run is 3 from perfect in every measure, and the truth is known; the run is `run`."""
    content = copy.deepcopy(report_page.report)
    content["runs"][0]["checksum"] = read_checkpoint(run).checksum
    return content


def test_yaml_reads_what_is_written():
    facts = {
        "text": 'a "word": # and ---',
        "list": ["x", 1, 1.5, True, None],
        "small": 1e-5,
        "large": 2.5e20,
        "empty": [],
        "nested": [{"a": {"b": [1, 2]}, "c": "é"}, {"d": -0.25}],
    }
    text = front_matter(facts)
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    assert yaml.safe_load(text.removesuffix("---\n")) == facts
    with pytest.raises(ValueError, match="nan has no place in a card"):
        front_matter({"x": float("nan")})


def test_a_run_without_a_report_says_that_nothing_was_measured(run):
    front, body = parts(translator.card(run))
    assert front["library_name"] == "galtrans"
    assert front["pipeline_tag"] == "image-to-image"
    assert front["tags"] == ["astronomy", "galaxies", "image-to-image", "sdss", "cfht", "demo"]
    assert "model-index" not in front
    assert "license" not in front
    assert "Nothing was measured" in body
    checkpoint = read_checkpoint(run)
    assert f"`{checkpoint.checksum}`" in body
    assert f"| parameters | {sum(each.numel() for each in checkpoint.networks.values()):,} (" in body
    assert "| survey x | SDSS, g r, 64 x 64 pixels of 0.396 arcsec |" in body
    assert "| noise of blank sky [nanomaggy/pixel], median | 0.0201 | 0.0404 |" in body  # I (I + 2) of 0.01 and 0.02
    assert "NOT an observation" in body


def test_measures_are_those_of_the_report(run, report):
    front, body = parts(model_card(run, report))
    (model,) = front["model-index"]
    assert model["name"] == "narrow"
    there, back = model["results"]
    assert (there["task"]["name"], back["task"]["name"]) == ("SDSS to CFHTLS", "CFHTLS to SDSS")
    assert there["dataset"] == {"type": "sdss_to_cfht", "name": "8 test galaxies, against the noise-free truth"}
    values = {metric["type"]: metric["value"] for metric in there["metrics"]}
    assert values == {"aperture_offset": 3.0}
    assert "| Δmag within 3″ (`aperture_offset`) | 3 ± 0.1 | 20 ± 0.1 | 0 ± 0.1 |" in body
    assert "| | this model | bilinear | floor |" in body
    assert "signal_residual" not in body
    assert "may have seen the test galaxies" not in body
    report["runs"][0]["test_galaxies_unseen"] = False
    assert "may have seen the test galaxies" in model_card(run, report)


def test_a_report_on_other_weights_is_refused(run, report, tmp_path):
    report["runs"][0]["checksum"] = "other"
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(ArgumentError, match=r"it has measured other weights \(run3, run0, .*; evaluate this run"):
        translator.card(run, report=tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ArgumentError, match=r"report\.json is no report of `galtrans evaluate`, or it is damaged"):
        translator.card(run, report=tmp_path / "report.json")
    with pytest.raises(ArgumentError, match=r"nowhere does not exist; `galtrans evaluate` makes a report"):
        translator.card(run, report=tmp_path / "nowhere")


def test_the_model_that_comes_with_galtrans_has_its_figures():
    front, body = parts(translator.card("sdss-cfhtls"))
    known = json.loads((find_model("sdss-cfhtls") / "model.json").read_text())
    assert front["license"] == "bsd-3-clause"
    there = front["model-index"][0]["results"][0]
    assert there["dataset"]["name"] == "twin-v1"
    assert there["metrics"][0] == {
        "type": "signal_residual",
        "name": "residual",
        "value": known["figures"]["sdss_to_cfht"]["residual"],
    }
    assert known["weights_sha256"] in body
    assert "simulated galaxies alone" in body


def test_the_code_of_a_card_runs(monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", translator.card("sdss-cfhtls"), re.DOTALL)
    exec(code, {})
    assert "136" in capsys.readouterr().out


def test_a_run_that_is_not_finished_says_so(tmp_path):
    run = tmp_path / "run"
    write_facts(run, RunFacts("two_step", (300, 700), 24, 5, survey_domains(same_grid=False), ""))
    with pytest.raises(RunError, match="has no checkpoint yet"):
        translator.card(run)
    save_checkpoint(run, Checkpoint(500, 1, {"generator_x.weight": torch.zeros(3)}, {}))
    _, body = parts(translator.card(run))
    assert "The training is not finished" in body
    assert "| iterations | 500 of 1,000 (300 + 700) |" in body
    assert "SDSS: seeing and noise are unknown." in body


def test_a_file_is_written_once(run, tmp_path):
    out = tmp_path / "README.md"
    text = translator.card(run, out=out)
    assert out.read_text(encoding="utf-8") == text
    with pytest.raises(ArgumentError, match=r"README\.md exists already; choose another `out` or pass `overwrite`"):
        translator.card(run, out=out)
    translator.card(run, out=out, overwrite=True)


def test_numbers_have_intervals_and_gaps_a_dash():
    found = {"value": [-0.5, np.nan, 0.5], "low": [-0.6, np.nan, 0.4], "high": [-0.4, np.nan, 0.6]}
    assert cell(found) == "0 ± 0.1"
    assert cell({"value": [None], "low": [None], "high": [None]}) == "–"
    assert cell(None) == "–"
