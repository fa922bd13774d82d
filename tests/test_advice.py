"""Whatever galtrans advises can be done: each command and option that a message names exists, where it is printed."""

import ast
import functools
import re
import shlex
from pathlib import Path

import click
import pytest

from cli.main import COMMANDS, galtrans

ROOT = Path(__file__).parents[1]
FOREIGN = {"--help", "--logdir", "--rdzv-endpoint", "--nproc-per-node", "--nnodes"}  # of TensorBoard and torchrun
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
NAMES = "|".join(COMMANDS)
A_COMMAND = re.compile(rf"`galtrans ([^`]*)`|^ *(?:galtrans )?((?:{NAMES}) [^\n]*--[^\n]*)$", re.MULTILINE)


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {module(path): path for name in ("cli", "survey_tools", "translator") for path in (ROOT / name).rglob("*.py")}


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text())


@functools.cache
def imported(name: str) -> frozenset[str]:
    """The files that one imports, in its functions too."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found & FILES.keys())


def reached(name: str) -> set[str]:
    """All files that a command uses."""
    seen, waiting = set(), [name]
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting += imported(here)
    return seen


def click_command(name: str) -> click.Command:
    return galtrans.get_command(None, name)


def options_of(command: click.Command) -> set[str]:
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return own.union(*(options_of(each) for each in below))


def messages(name: str):
    """What a file may print: its texts but for docstrings, with {} for what is put into them."""
    holders = (ast.FunctionDef, ast.ClassDef, ast.Module)
    bodies = [node.body[0] for node in ast.walk(tree(name)) if isinstance(node, holders) and node.body]
    left_out = {id(body.value) for body in bodies if isinstance(body, ast.Expr)}
    left_out |= {id(part) for node in ast.walk(tree(name)) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree(name)):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


ADVICE = [
    (name, text) for name in sorted(FILES) for text in messages(name) if OPTION.search(text) or "galtrans " in text
]


@functools.cache
def printed_by() -> dict[str, set[str]]:
    """The commands that may print what a file says."""
    found: dict[str, set[str]] = {name: set() for name in FILES}
    for command, name in COMMANDS.items():
        for each in reached(name):
            found[each].add(command)
    return found | {"cli.demo": set(COMMANDS)}  # for it types them all


@pytest.mark.parametrize(("name", "text"), ADVICE, ids=[f"{name}-{at}" for at, (name, _) in enumerate(ADVICE)])
def test_options_that_a_message_names_are_those_of_a_command_that_prints_it(name, text):
    alone = A_COMMAND.sub("", text)
    named = {each for each in COMMANDS if re.search(rf"\b{each}\b", text)}
    piece = OPTION.fullmatch(text)  # of a command that is put together there
    commands = set(COMMANDS) if piece else printed_by()[name] | named or set(COMMANDS)
    known = FOREIGN.union(*(options_of(click_command(each)) for each in commands))
    assert set(OPTION.findall(alone)) <= known


ADVISED = sorted({(first or last).strip() for _, text in ADVICE for first, last in A_COMMAND.findall(text)})


@pytest.mark.parametrize("words", ADVISED)
def test_commands_that_a_message_names_can_be_typed(words):
    name, *rest = shlex.split(words.replace("{}", "x"))
    assert name in COMMANDS
    assert set(OPTION.findall(words)) <= options_of(click_command(name))
    if "…" in words or not rest:
        return  # a command in outline
    command = click_command(name)
    for word in rest:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    needed = {option.opts[0] for option in command.params if isinstance(option, click.Option) and option.required}
    given = {option.opts[0] for option in command.params if set(option.opts) & set(rest)}
    assert needed <= given


def test_there_is_advice_to_check():
    assert len(ADVICE) > 100
    assert any(words.startswith("crossmatch") for words in ADVISED)
