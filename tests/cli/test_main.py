import logging
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, galtrans, main
from survey_tools.errors import ArchiveError, GaltransError
from survey_tools.version import VERSION


def run(monkeypatch, *words: str) -> int:
    """The exit code of the command line."""
    monkeypatch.setattr("sys.argv", ["galtrans", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def failing(monkeypatch, error: BaseException) -> None:
    """Make `galtrans info STORE` end in an error."""

    def fail(**arguments):
        raise error

    monkeypatch.setattr(galtrans.get_command(None, "info"), "callback", fail)


def find(words: list[str]) -> click.Command:
    """The command that some words name, in a group or not."""
    command = galtrans
    for word in words:
        if not isinstance(command, click.Group) or command.get_command(None, word) is None:
            break
        command = command.get_command(None, word)
    return command


def leaves(command=galtrans, words=()) -> list[str]:
    """Every command as it is called, those of groups too."""
    if not isinstance(command, click.Group):
        return [" ".join(words)]
    return [
        leaf for name in command.list_commands(None) for leaf in leaves(command.get_command(None, name), (*words, name))
    ]


@pytest.mark.parametrize("words", leaves())
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_explains_the_command_and_ends_with_an_example(words, option):
    result = CliRunner().invoke(galtrans, [*words.split(), option])
    assert result.exit_code == 0, result.output
    command = find(words.split())
    example = command.help.partition("Example")[2]
    assert f"galtrans {words}" in example
    assert f"galtrans {words}" in result.output
    assert len(command.help.splitlines()[0]) > 20
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


@pytest.mark.parametrize("words", [*leaves(), *(name for name in COMMANDS if name not in leaves())])
def test_examples_are_lines_that_the_command_line_understands(words):
    """Every option and the number of arguments of each example are those of the command."""
    for line in find(words.split()).help.partition("Example")[2].splitlines():
        said = line.split("#")[0].split()
        if said[:1] == ["galtrans"]:
            command = find(said[1:])
            known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
            assert {word for word in said if word.startswith("-") and not word[1:2].isdigit()} <= known, line


def test_shared_options_are_spelt_alike():
    for words in leaves():
        options = {option for parameter in find(words.split()).params for option in parameter.opts}
        assert "--verbose" in options, words
        assert not options & {"--jobs", "--threads", "--output", "--random-seed"}, words
        assert "--force" not in options or words == "translate", words  # there it is no other word for --overwrite


def test_the_commands_are_listed_in_the_order_of_use():
    listed = CliRunner().invoke(galtrans, ["--help"]).output.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.strip() and line.startswith("  ") and line[2] != " "] == list(
        COMMANDS
    )


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_the_whole(monkeypatch, capsys, option):
    assert run(monkeypatch, option) == 0
    assert "galtrans demo" in capsys.readouterr().out


def test_the_version(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"galtrans, version {VERSION}\n"


@pytest.mark.parametrize("words", [("frobnicate",), ("--colour",), ("info",), ("info", "a.zarr", "b.zarr")])
def test_wrong_usage_is_exit_2(monkeypatch, capsys, words):
    assert run(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert "Error: " in said
    assert "Traceback" not in said


def test_an_unknown_command_is_named(monkeypatch, capsys):
    assert run(monkeypatch, "frobnicate") == 2
    assert "'frobnicate'" in capsys.readouterr().err


@pytest.mark.parametrize("error", [GaltransError("a.fits: no band r;\n fetch it"), ArchiveError("it is gone")])
def test_what_fails_outside_is_one_line_and_exit_1(monkeypatch, capsys, error):
    failing(monkeypatch, error)
    assert run(monkeypatch, "info", "a.zarr") == 1
    said = capsys.readouterr()
    assert said.err == f"Error: {' '.join(str(error).split())}\n"
    assert said.out == ""


def test_a_full_disk_is_one_line_and_exit_1(monkeypatch, capsys):
    failing(monkeypatch, OSError(28, "No space left on device", "x.zarr"))
    assert run(monkeypatch, "info", "a.zarr") == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: No space left on device (x.zarr)")
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_says_how_to_go_on(monkeypatch, capsys, error):
    failing(monkeypatch, error)
    monkeypatch.setattr("os._exit", sys.exit)  # which would end the tests as well
    assert run(monkeypatch, "info", "a.zarr") == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("Error: interrupted")
    assert "run the same command again" in said


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    failing(monkeypatch, ZeroDivisionError("ours"))
    monkeypatch.setattr("sys.argv", ["galtrans", "info", "a.zarr"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_verbose_shows_the_detail():
    before = logging.getLogger().level
    try:
        CliRunner().invoke(galtrans, ["info", "-v", "none.zarr"])
        assert logging.getLogger().level == logging.INFO
    finally:
        logging.getLogger().setLevel(before)


def test_in_a_shell_an_error_is_one_line_without_traceback(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "info", str(tmp_path / "none.zarr")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == f"Error: {tmp_path / 'none.zarr'} does not exist\n"


def test_help_loads_nothing_heavy():
    script = "import sys\nfrom cli.main import galtrans, COMMANDS\n"
    script += f"for name in {list(COMMANDS)}: galtrans.get_command(None, name)\n"
    script += "print([m for m in ('torch', 'galsim', 'dask', 'astropy', 'zarr', 'scipy') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
