import pytest
from click.testing import CliRunner

import cli.demo
from cli.main import galtrans


@pytest.fixture
def typed(monkeypatch):
    """The commands that a demo types, none of which is run."""
    words = []
    monkeypatch.setattr(cli.demo, "_run", lambda *each: words.append([str(word) for word in each]))
    for name in ("_translate", "_report", "_show"):
        monkeypatch.setattr(cli.demo, name, lambda *_: None)
    return words


def demo(*more):
    return CliRunner().invoke(galtrans, ["demo", "--out", "d", *more])


def test_an_interrupted_demo_goes_on(typed, tmp_path, monkeypatch):
    """By the same commands, which go on themselves; pairs that are there are kept, and a training is resumed."""
    monkeypatch.chdir(tmp_path)
    assert demo().exit_code == 0
    assert [words[0] for words in typed] == ["simulate", "fetch", "fetch", "crossmatch", "regrid", "train"]
    assert "--resume" not in typed[-1]
    (tmp_path / "d" / "pairs.ecsv").touch()
    (tmp_path / "d" / "run").mkdir()
    (tmp_path / "d" / "run" / "run.json").touch()
    typed.clear()
    assert demo().exit_code == 0
    assert [words[0] for words in typed] == ["simulate", "fetch", "fetch", "regrid", "train"]
    assert "--resume" in typed[-1]


def test_another_demo_is_not_mixed_with_it(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo().exit_code == 0
    refused = demo("--seed", "1")
    assert refused.exit_code == 2
    assert "d exists already; choose another --out or pass --overwrite" in refused.output
    (tmp_path / "d" / "sky").mkdir()
    assert demo("--seed", "1", "--overwrite").exit_code == 0
    assert not (tmp_path / "d" / "sky").exists()


def test_what_no_demo_made_is_not_replaced(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").touch()
    assert "was not made by `galtrans demo`" in demo("--overwrite").output
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["mine"]
