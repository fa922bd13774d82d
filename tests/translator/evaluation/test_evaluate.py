"""A whole report of two toy runs on stores of small images: its page and its files."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from survey_tools.errors import RunError, StoreError
from survey_tools.surveys import CFHT, SDSS
from translator import RECIPES
from translator.evaluation import evaluate as evaluation
from translator.evaluation.evaluate import EvaluationInputs, EvaluationSettings, evaluate, name_runs
from translator.evaluation.held_out import open_held_out, other_noise
from translator.metrics import paper, signal, sky, spread, table
from translator.report.page import number
from translator.runs.apply import resampled
from translator.runs.checkpoint import Checkpoint, build_networks, save_checkpoint
from translator.runs.facts import RunFacts, describe_domain, fingerprint_of_pairs, write_facts

COUNT = 8
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr", "path"}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_store, pair_table):
    """Stores of eight test pairs, their truth, and two untrained runs of the narrow recipe `demo`."""
    folder, ra = tmp_path_factory.mktemp("world"), 150 + 0.1 * np.arange(COUNT)
    stores = {}
    for place, sky_of in (("", {"sdss": 0.02, "cfht": 0.005}), ("truth", {"sdss": 0.0, "cfht": 0.0})):
        for survey, size in ((SDSS, 16), (CFHT, 36)):
            path = folder / place / f"{survey.name}.zarr"
            stores[place, survey.name] = tiny_store(path, survey, size, ra, sky=sky_of[survey.name])
    x, y = stores["", "sdss"], stores["", "cfht"]
    pairs = pair_table(x, y, np.arange(COUNT), np.arange(COUNT), ["test"] * COUNT)
    pairs.write(folder / "pairs.ecsv")
    recipe = replace(RECIPES["demo"], width=4)
    for name, seed in (("first", 0), ("second", 1)):
        domains = {"x": describe_domain(x), "y": describe_domain(y)}
        facts = RunFacts("demo", (1, 1), 2, seed, domains, fingerprint_of_pairs(pairs) if name == "first" else "other")
        write_facts(folder / name, facts)
        weights = {k: v.contiguous() for k, v in build_networks(facts, recipe).state_dict().items()}
        save_checkpoint(folder / name, Checkpoint(2, 1, weights, {}))
    inputs = EvaluationInputs(
        (folder / "first", folder / "second"), folder / "sdss.zarr", folder / "cfht.zarr", folder / "pairs.ecsv"
    )
    return SimpleNamespace(folder=folder, inputs=inputs)


@pytest.fixture(scope="module", autouse=True)
def few_measures():
    """Only quick measures, and narrow networks."""
    groups = {"The paper's figures": paper, "Signal apart from noise": signal, "Noise": sky, "Spread": spread}
    measures = {each.name: each for file in groups.values() for each in file.MEASURES}
    whole = [(known, dict(known)) for known in (table.GROUPS, table.MEASURES)]
    with pytest.MonkeyPatch.context() as patch:
        for (known, _), few in zip(whole, (groups, measures), strict=True):
            known.clear()
            known.update(few)
        patch.setitem(RECIPES, "demo", replace(RECIPES["demo"], width=4))
        yield
    for known, before in whole:  # not by `patch`, which would put back in another order
        known.clear()
        known.update(before)


@pytest.fixture(scope="module")
def with_truth(world):
    out = world.folder / "report"
    inputs = replace(world.inputs, truth=world.folder / "truth")
    made = evaluate(inputs, EvaluationSettings(draws=3, device="cpu"), out)
    return SimpleNamespace(out=out, report=made.content, made=made)


@pytest.fixture(scope="module")
def without_truth(world):
    limits = world.folder / "limits.toml"
    limits.write_text(
        "[sdss_to_cfht]\nsignal_residual.r = { max = 1e9 }\nfigure6_log_ratio.g = { min = -1e9 }\n"
        "[sdss_to_cfht.verdict]\nbilinear = { min_closer = 0, max_farther = 0 }\n"
    )
    out = world.folder / "real"
    inputs = replace(world.inputs, runs=world.inputs.runs[:1])
    made = evaluate(inputs, EvaluationSettings(galaxies=6, draws=0, device="cpu"), out, limits)
    return SimpleNamespace(out=out, report=made.content, made=made)


class Structure(HTMLParser):
    """Parse a page: check that elements are closed in order, and collect identifiers, links and texts."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(made):
    page = Structure()
    page.feed((made.out / "report.html").read_text())
    return page


def test_files_are_those_promised_and_nothing_else_is_left(with_truth):
    assert {path.name for path in with_truth.out.iterdir()} == {"report.html", "report.json", "galaxies.ecsv"}
    assert json.loads((with_truth.out / "report.json").read_text()) == with_truth.report


@pytest.mark.parametrize("made", ["with_truth", "without_truth"])
def test_the_page_is_whole_and_needs_no_network(made, request):
    page = parsed(request.getfixturevalue(made))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"https?://", (request.getfixturevalue(made).out / "report.html").read_text())


def test_the_page_has_every_number_of_the_json(with_truth):
    cells = "".join(parsed(with_truth).text)
    for direction in with_truth.report["directions"].values():
        for rows in direction["values"].values():
            for found in rows.values():
                for value, low, high in zip(found["value"], found["low"], found["high"], strict=True):
                    assert f"{number(value)} ({number(low)} to {number(high)})" in cells


def test_the_report_comes_back_as_tables(with_truth, without_truth):
    made = with_truth.made
    assert made.folder == with_truth.out
    measures = made.tables["measures"]
    values = with_truth.report["directions"]["sdss_to_cfht"]["values"]
    chosen = (measures["direction"] == "sdss_to_cfht") & (measures["measure"] == "noise_amplitude")
    some = measures[chosen & (measures["run"] == "second")]
    assert list(some["band"]) == ["g", "r"]
    assert list(some["value"]) == values["noise_amplitude"]["second"]["value"]
    assert (some["low"] <= some["high"]).all()
    assert set(some["unit"]) == {"dex"}
    assert not some["reference"].any()
    assert set(measures["run"][measures["reference"]]) == {"floor", "oracle", "bilinear"}
    verdict = made.tables["verdict"]
    assert set(verdict["run"]) == {"first", "second"}
    assert (verdict["closer"] + verdict["farther"] + verdict["alike"] + verdict["lost"] == verdict["of"]).all()
    assert made.tables["galaxies"].colnames == Table.read(made.folder / "galaxies.ecsv").colnames
    assert made.passed
    assert len(made.tables["requirements"]) == 0
    assert str(made).startswith("first, sdss_to_cfht: closer to the truth than bilinear in ")
    judged = without_truth.made.tables["requirements"]
    assert not without_truth.made.passed
    assert list(judged["holds"]) == [each["holds"] for each in without_truth.report["requirements"]]
    assert np.isnan(judged["value"][["signal_residual" in each for each in judged["requirement"]]]).all()


def test_rows_are_runs_then_floor_and_ceilings(with_truth, without_truth):
    found = with_truth.report["directions"]["sdss_to_cfht"]["values"]
    assert list(found["figure5_ratio"]) == ["first", "second", "floor", "oracle", "bilinear"]
    found = without_truth.report["directions"]["sdss_to_cfht"]["values"]
    assert list(found["figure5_ratio"]) == ["first", "bilinear"]
    assert list(found["noise_amplitude"]) == ["first", "floor", "bilinear"]  # halves of the real sky


def test_the_oracle_is_at_the_floor_where_bilinear_is_not(with_truth):
    found = with_truth.report["directions"]["sdss_to_cfht"]["values"]["signal_residual"]
    assert np.allclose(found["oracle"]["value"], 0, atol=1e-6)
    assert min(found["bilinear"]["value"]) > 0.01


def test_what_needs_the_truth_is_left_out_and_said(without_truth):
    direction = without_truth.report["directions"]["cfht_to_sdss"]
    assert "--truth" in direction["left_out"]["signal_residual"]
    assert "signal_residual" not in direction["values"]
    page = "".join(parsed(without_truth).text)
    assert "No truth was given" in page
    assert "(signal_residual): it needs the noise-free truth (--truth DIR)" in page


def test_requirements_are_judged(without_truth):
    judged = {each["requirement"].split()[1]: each for each in without_truth.report["requirements"]}
    verdict = without_truth.report["directions"]["sdss_to_cfht"]["verdict"]["rows"]["first"]["against"]["bilinear"]
    assert judged["verdict:"]["value"] == verdict["farther"]
    assert judged["verdict:"]["holds"] == (verdict["farther"] == 0)
    assert judged["figure6_log_ratio.g"]["holds"]
    assert not judged["signal_residual.r"]["holds"]
    assert "it needs the noise-free truth" in judged["signal_residual.r"]["reason"]


def test_the_verdict_is_over_every_measure_that_some_row_has(with_truth):
    for direction in with_truth.report["directions"].values():
        verdict = direction["verdict"]
        known = {
            name
            for name, rows in direction["values"].items()
            if any(value is not None for row in rows.values() for value in row["value"])
        }
        assert set(verdict["measures"]) == known
        assert list(verdict["rows"]) == ["first", "second", "floor", "oracle", "bilinear"]
        for row in verdict["rows"].values():
            for counts in row["against"].values():
                assert sum(counts[word] for word in ("closer", "farther", "alike", "lost")) == len(verdict["measures"])
        assert direction["input"] == {}  # redshifts are not among the measures of these tests


def test_a_run_that_may_have_seen_the_test_galaxies_is_named(with_truth):
    assert [run["test_galaxies_unseen"] for run in with_truth.report["runs"]] == [True, False]
    assert "it may have seen the test galaxies" in "".join(parsed(with_truth).text)


def test_the_table_has_a_row_for_each_galaxy_run_and_direction(with_truth):
    galaxies = Table.read(with_truth.out / "galaxies.ecsv")
    assert len(galaxies) == COUNT * 2 * 2
    assert set(galaxies["x_object"]) == {f"sdss-{i}" for i in range(COUNT)}
    statistics = [name for name in galaxies.colnames if name.endswith(("_g", "_r"))]
    assert len(statistics) > 6


def test_the_same_seed_gives_the_same_numbers(world, without_truth, monkeypatch):
    monkeypatch.setattr(evaluation, "write_page", lambda *_: None)  # of the numbers, which are compared here
    inputs = replace(world.inputs, runs=world.inputs.runs[:1])
    again = evaluate(inputs, EvaluationSettings(galaxies=6, draws=0, device="cpu"), world.folder / "again")
    assert again.content["directions"] == without_truth.report["directions"]


def test_runs_are_named_by_as_much_of_their_path_as_tells_them_apart(tmp_path):
    paths = tuple(tmp_path / name for name in ("a/run", "b/run"))
    assert list(name_runs(paths)) == ["a/run", "b/run"]
    assert list(name_runs((tmp_path / "a" / "floor",))) == ["a/floor"]
    assert list(name_runs(paths[:1] * 2)) == ["run"]


def test_a_run_for_other_pixels_is_refused(world, tiny_store, pair_table, tmp_path):
    x = tiny_store(tmp_path / "x.zarr", SDSS, 20, 150 + 0.1 * np.arange(2))
    y = tiny_store(tmp_path / "y.zarr", CFHT, 42, 150 + 0.1 * np.arange(2))
    pair_table(x, y, [0, 1], [0, 1], ["test", "test"]).write(tmp_path / "pairs.ecsv")
    inputs = EvaluationInputs(world.inputs.runs, x.path, y.path, tmp_path / "pairs.ecsv")
    with pytest.raises(RunError, match=r"reads sdss in gr on 16 pixels as its domain x, and .* has sdss in gr on 20"):
        evaluate(inputs, EvaluationSettings(device="cpu"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truth_of_another_sky_is_refused(world, tiny_store):
    with pytest.raises(StoreError, match=r"sdss\.zarr"):
        open_held_out(
            *(getattr(world.inputs, name) for name in ("x", "y", "pairs")), world.folder / "no", galaxies=None, seed=0
        )


def test_other_noise_is_a_neighbour_s_at_this_image_s_level():
    random = np.random.default_rng(0)
    sigma = np.array([1.0, 2.0, 3.0])[:, None]
    truth = np.broadcast_to(np.array([1.0, 5.0, 9.0])[:, None, None, None], (3, 1, 40, 40))
    target = truth + sigma[..., None, None] * random.normal(size=truth.shape)
    other = other_noise(target, truth, sigma, 1) - truth
    assert np.allclose(other.std(axis=(1, 2, 3)), sigma[:, 0], rtol=0.1)
    for mine, theirs in zip(other, target - truth, strict=True):
        assert abs(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]) < 0.1  # never its own


def test_interpolation_keeps_flux_and_centre():
    row, col = np.indices((20, 20)) - 9.5
    galaxy = np.exp(-0.5 * (row**2 + col**2) / 9).astype(np.float32)[None, None]
    fine = resampled(galaxy, np.array([[[2.0, 0, 0], [0, 2.0, 0]]]), 42)  # reaches over the edge
    assert fine.shape == (1, 1, 42, 42)
    assert np.isfinite(fine).all()
    assert np.isclose(fine.sum(), galaxy.sum(), rtol=0.01)
    assert np.allclose(fine, fine[..., ::-1, ::-1], atol=1e-6)
