"""The command `galtrans`: it loads a subcommand when it is used, and reports errors in one line."""

import importlib
import logging
import os
import re
import sys

import click

from cli.options import survey_file_option
from survey_tools.errors import ArgumentError, GaltransError
from survey_tools.version import VERSION

COMMANDS = {  # name: file of cli/ that holds it, in the order of use
    "surveys": "cli.surveys",
    "demo": "cli.demo",
    "simulate": "cli.simulate",
    "archives": "cli.targets",
    "targets": "cli.targets",
    "fetch": "cli.fetch",
    "ingest": "cli.ingest",
    "verify": "cli.stores",
    "info": "cli.stores",
    "convert": "cli.stores",
    "export": "cli.stores",
    "crossmatch": "cli.match",
    "regrid": "cli.match",
    "partition": "cli.stores",
    "recipes": "cli.recipes",
    "train": "cli.train",
    "translate": "cli.translate",
    "models": "cli.recipes",
    "card": "cli.recipes",
    "evaluate": "cli.evaluate",
    "import-weights": "cli.weights",
    "export-weights": "cli.weights",
    "bench": "cli.bench",
}
AN_ARGUMENT = re.compile(r"`(\w+)`")  # in a message of the front door
OWN_NAMES = {"image": "files", "to": "target", "store": "y", "run": "path"}  # argument of the front door: of a command


class Commands(click.Group):
    """A group that imports a command only when it is used, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of that name, or None."""
        return getattr(importlib.import_module(COMMANDS[name]), name.replace("-", "_")) if name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. An ArgumentError of the front door becomes an error about the option of the command."""
        try:
            return super().invoke(ctx)
        except ArgumentError as error:
            raise _bad_parameter(self, ctx, error) from error


def _bad_parameter(group: Commands, ctx: click.Context, error: ArgumentError) -> click.BadParameter:
    """Return the error of click for an argument that a function of the front door cannot use."""
    name = ctx.invoked_subcommand or ""
    command = group.get_command(ctx, name)
    several = command.commands.values() if isinstance(command, click.Group) else [command] if command else []
    known = {parameter.name: parameter for each in several for parameter in each.params}
    own = error.argument if error.argument in known else OWN_NAMES.get(error.argument, error.argument)
    hint = None if own in known else f"--{own.replace('_', '-')}"
    usage = click.Context(command, info_name=name, parent=ctx) if command else ctx
    options = {name: max(each.opts, key=len) for name, each in known.items() if isinstance(each, click.Option)}
    options |= {name: options[own] for name, own in OWN_NAMES.items() if own in options and name not in options}
    message = AN_ARGUMENT.sub(lambda match: options.get(match[1], match[1]), error.message)
    return click.BadParameter(message, ctx=usage, param=known.get(own), param_hint=hint)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@survey_file_option
@click.version_option(VERSION, prog_name="galtrans")
def galtrans() -> None:
    """Prepare, cross-match and translate galaxy images between two surveys, such as SDSS and CFHTLS.

    Start with `galtrans demo`, which runs all steps on a simulated sky, offline, in a few minutes.
    """


def main() -> None:
    """Run the command line. The exit code is 2 for wrong usage and 1 for failures; one line says what to do."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        sys.exit(galtrans.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        _say(f"interrupted; nothing half-written is left, so run the same command again{_added(error)}")
        _leave()
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except GaltransError as error:
        _fail(error)
    except ConnectionError as error:  # an archive, or a cluster, that may be there later
        said = f"{error}"
        said += "" if said.endswith((".", "?", "!")) else "."
        _fail(f"{said} Nothing half-written is left; run the same command again later")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        said = f"{error.strerror or error}{where}; nothing half-written is left"
        _fail(f"{said}: mend that and run the command again{_added(error)}")


def _added(error: BaseException) -> str:
    """Return the notes that a command has added to its error, such as the option that resumes it."""
    notes = [note for each in (error, error.__cause__) for note in getattr(each, "__notes__", ())]
    return "".join(f" {note}" for note in notes)


def _fail(message: object) -> None:
    """Print on one line what failed, and exit with 1."""
    _say(message)
    sys.exit(1)


def _say(message: object) -> None:
    click.echo(f"Error: {' '.join(str(message).split())}", err=True)


def _leave() -> None:
    """Exit with 1 without waiting for threads, because a download may need an hour; the next run resumes it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
