import ast
import errno
import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from survey_tools.errors import RunError
from translator.runs import checkpoint as module
from translator.runs.checkpoint import Checkpoint, load_run, read_checkpoint, save_checkpoint
from translator.runs.facts import Domain, RunFacts, read_facts, write_facts

DOMAINS = {
    "x": Domain("sdss", ("g", "r"), 16, 1.6, (0.01, 0.01), "a"),
    "y": Domain("cfht", ("g", "r"), 36, 0.7, (), "b"),
}
FACTS = RunFacts("demo", (1, 2), 2, 5, DOMAINS, "c")


@pytest.fixture
def run(tmp_path):
    """A run of `demo` with untrained weights in its last step."""
    write_facts(tmp_path, FACTS)
    networks = module.build_networks(FACTS, module.find_recipe("demo"))
    save_checkpoint(tmp_path, Checkpoint(3, 1, networks.state_dict(), {"random": torch.arange(4)}))
    return tmp_path


def folder(run, iteration=3):
    return run / "checkpoints" / f"{iteration:09}"


def test_facts_come_back_as_they_were(run):
    assert read_facts(run) == FACTS


def test_a_checkpoint_comes_back_as_it_was(run):
    expected = module.build_networks(FACTS, module.find_recipe("demo")).state_dict()
    found = read_checkpoint(run)
    assert (found.iteration, found.step) == (3, 1)
    assert found.networks.keys() == expected.keys()
    assert all(torch.equal(found.networks[name], expected[name]) for name in expected)
    assert torch.equal(found.training["random"], torch.arange(4))


def test_two_newest_checkpoints_stay(run):
    for iteration in (4, 5, 6):
        save_checkpoint(run, Checkpoint(iteration, 1, {"a": torch.zeros(1)}, {}))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000000005", "000000006"]
    assert read_checkpoint(run).iteration == 6


def test_a_kill_while_saving_leaves_the_checkpoint_before(run):
    part = folder(run, 4).with_suffix(".part")
    part.mkdir()
    (part / "networks.safetensors").write_bytes(b"half")
    assert load_run(run, "cpu").iteration == 3
    save_checkpoint(run, Checkpoint(4, 1, {"a": torch.zeros(1)}, {}))
    assert not part.exists()


def test_a_full_disk_leaves_the_checkpoint_before(run, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(run, Checkpoint(4, 1, {"a": torch.zeros(1)}, {}))
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000000003"]


@pytest.mark.parametrize("name", ["networks.safetensors", "training.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_files_are_named(run, name, damage):
    path = folder(run) / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"\xff" + content[1:])
    if damage == "missing":
        path.unlink()
    with pytest.raises(RunError, match=r"000000003.* is damaged.*delete its folder") as caught:
        load_run(run, "cpu")
    assert "\n" not in str(caught.value)


def test_no_checkpoint_yet(tmp_path):
    write_facts(tmp_path, FACTS)
    with pytest.raises(RunError, match="has no checkpoint yet"):
        load_run(tmp_path, "cpu")


def test_a_run_whose_last_step_has_not_begun_cannot_translate(run):
    save_checkpoint(run, Checkpoint(4, 0, {"a": torch.zeros(1)}, {}))
    with pytest.raises(RunError, match="training step 1 of 2"):
        load_run(run, "cpu")


def test_not_a_run(tmp_path):
    with pytest.raises(RunError, match=r"is not a training run: it has no run\.json"):
        load_run(tmp_path, "cpu")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        load_run(tmp_path, "cpu")


def rewrite(run, **changes):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "three_step"}, "no recipe is called 'three_step'; .* two_step, .*demo"),
        ({"schema_version": 99}, r"galtrans-run version 99; galtrans .* reads 1"),
        ({"schema": "other"}, "is other version 1"),
        ({"domains": {}}, "is damaged"),
        ({"surprise": 1}, "is damaged"),
        ({"recipe": "two_step"}, r"does not fit its recipe: autoencoder_x\.layers\.0\.bias is \(8,\) .* \(64,\)"),
    ],
)
def test_runs_of_another_make_are_refused(run, changes, message):
    rewrite(run, **changes)
    with pytest.raises(RunError, match=message):
        load_run(run, "cpu")


def test_a_survey_the_run_does_not_know(run):
    with pytest.raises(RunError, match="translates between sdss and cfht, not hsc"):
        load_run(run, "cpu").domain_of("hsc")


def test_nothing_in_a_run_is_a_pickle(run):
    for path in run.rglob("*"):
        if path.is_file():
            assert path.suffix in (".json", ".safetensors")


@pytest.mark.parametrize("name", ["networks.safetensors", "training.safetensors", "checkpoint.json", "run.json"])
def test_a_pickle_in_a_run_is_not_executed(run, trap, name):
    path = (run if name == "run.json" else folder(run)) / name
    before, content = path.read_bytes(), pickle.dumps(trap)
    path.write_bytes(content)
    summary = folder(run) / "checkpoint.json"
    if name.endswith("safetensors"):  # with a checksum that is right, so that the content itself is looked at
        checksums = [hashlib.sha256(some).hexdigest() for some in (before, content)]
        summary.write_text(summary.read_text().replace(*checksums))
    with pytest.raises(RunError, match="is damaged") as caught:
        load_run(run, "cpu")
    assert "checksum" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not trap.path.exists()


ODD = ["", "[]", "null", "7", '"text"', "{}", "[" * 100_000, "\0\0", '{"schema": "galtrans-run", "schema_version": 1}']


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_documents_in_a_run_are_named(run, text):
    for path in (folder(run) / "checkpoint.json", run / "run.json"):
        path.write_text(text)
        with pytest.raises(RunError, match="is damaged"):
            load_run(run, "cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": ["demo"]}, r"\['demo'\] is of the wrong type"),
        ({"batch_size": "2"}, "'2' is of the wrong type"),
        ({"iterations": [1, None]}, "None is of the wrong type"),
        ({"imported": 7}, "has no attribute"),
        ({"imported": {"a.npz": 7}}, "7 is of the wrong type"),
        ({"domains": {"x": {}, "y": {}}}, "bands"),
    ],
)
def test_facts_of_the_wrong_type(run, changes, said):
    rewrite(run, **changes)
    with pytest.raises(RunError, match=f"run.json is damaged .*{said}"):
        load_run(run, "cpu")


def test_a_survey_that_this_version_does_not_have(run):
    domains = json.loads((run / "run.json").read_text())["domains"]
    domains["x"]["survey"] = "lsst"
    rewrite(run, domains=domains)
    with pytest.raises(RunError, match=r"no survey is called 'lsst'; known are sdss, cfht.* needs its --survey-file"):
        load_run(run, "cpu")


def test_a_run_of_before_weights_could_be_imported(run):
    document = json.loads((run / "run.json").read_text())
    del document["imported"]
    (run / "run.json").write_text(json.dumps(document))
    assert read_facts(run) == FACTS


def test_only_an_imported_run_may_lack_networks(run):
    networks = module.build_networks(FACTS, module.find_recipe("demo")).state_dict()
    some = {name: tensor for name, tensor in networks.items() if not name.startswith("autoencoder")}
    save_checkpoint(run, Checkpoint(4, 1, some, {}))
    with pytest.raises(RunError, match=r"autoencoder_x\.layers\.0\.bias is missing"):
        load_run(run, "cpu")
    rewrite(run, imported={"a.npz": "0"})
    assert "autoencoder_x" not in load_run(run, "cpu").networks
    save_checkpoint(run, Checkpoint(5, 1, {n: t for n, t in some.items() if not n.startswith("generator")}, {}))
    with pytest.raises(RunError, match=r"generator_x\.layers\.0\.bias is missing"):
        load_run(run, "cpu")


UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}  # packages that can execute what they read


def test_no_source_file_can_unpickle():
    """No such package, no torch.load, no allow_pickle but False (NumPy's default), no eval or exec."""
    root = Path(__file__).parents[3]
    for path in [path for package in ("survey_tools", "translator", "cli") for path in (root / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & UNSAFE, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] not in UNSAFE, path
            elif isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"torch.load", "torch.save", "eval", "exec"}, path
                pickles = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
                assert not pickles, path
