"""Whatever galtrans advises can be done: each command and option that a message names exists, where it is printed."""

import ast
import functools
import re
import shlex
from pathlib import Path

import click
import pytest

import survey_tools
import translator
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


FRONT = {"survey_tools": survey_tools._FROM, "translator": translator._FROM}
DOORS = {
    f"{package}.{name}" for package in FRONT for name in ("api", "ask", "accept")
}  # looked at function by function


@functools.cache
def bindings(name: str) -> dict[str, str]:
    """What the names at the top of a file are: a file that is imported, or "FILE:FUNCTION" of a door."""
    found = {}
    for node in tree(name).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                door = f"{node.module}:{alias.name}"
                found[alias.asname or alias.name] = (
                    door if node.module in DOORS else inner if inner in FILES else node.module
                )
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = f"{name}:{node.name}"
    return found


def used(place: str) -> set[str]:
    """The files, and functions of doors, that a file or a function of a door uses."""
    name, _, function = place.partition(":")
    node = tree(name)
    if function:
        node = next((each for each in node.body if getattr(each, "name", "") == function), node)
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in FRONT:
            origin = FRONT[each.value.id].get(each.attr)
            found |= {f"{origin}:{each.attr}" if origin in DOORS else origin} - {None}
        elif isinstance(each, ast.Name) and function:
            found |= {bindings(name).get(each.id)} - {None}
        elif isinstance(each, ast.ImportFrom) and each.module and (function or name not in DOORS):
            inner = {f"{each.module}.{alias.name}" for alias in each.names} & FILES.keys()
            doors = {f"{each.module}:{alias.name}" for alias in each.names} if each.module in DOORS else set()
            found |= inner | doors or {each.module}
    found |= set() if function or name in DOORS else {each for each in imported(name) if each not in DOORS}
    return {each for each in found if each.partition(":")[0] in FILES}


def reached(name: str) -> set[str]:
    """All files that a command uses, by the functions of the front door that it calls."""
    seen, waiting = set(), [name]
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting += used(here)
    return {each.partition(":")[0] for each in seen}


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
