"""The command line, called as the shell does."""

import pytest

from cli.main import main
from survey_tools.archives import tap
from survey_tools.archives.download import http


@pytest.fixture
def galtrans(monkeypatch, capfd):
    """A function that runs a command: exit code, standard output, standard error. Archives are asked without waits."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(http, "LONGEST_WAIT", 0.0)
    monkeypatch.setattr(tap, "PAUSES", (0.0, 0.0))

    def run(*words):
        monkeypatch.setattr("sys.argv", ["galtrans", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run
