"""The house of docs/architecture.md: imports point down only, and heavy packages stay where they belong.

The floors are read from the page itself, so that page and code cannot differ.
"""

import ast
import re
from pathlib import Path

import pytest

import survey_tools
import translator

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("survey_tools", "translator", "cli")
MOST = 20  # files in a folder
HOLDERS = {  # package: the files, or folders, that may import it
    "zarr": {"survey_tools.store.zarr_store"},
    "click": {"cli"},
    "torch": {"translator"},
    "galsim": {"survey_tools.twin_sky.draw", "survey_tools.twin_sky.galaxies", "translator.metrics.shapes"},
    "statmorph": {"translator.metrics.shapes"},
}


def floors() -> list[list[str]]:
    """The floors of the page, from the roof down: files and folders of each."""
    block = re.search(r"```floors\n(.*?)```", PAGE, re.DOTALL)[1]
    lines = [line.split("#")[0] for line in block.splitlines()]
    return [line.split() for line in lines if line.strip()]


FLOOR = {unit: -number for number, units in enumerate(floors()) for unit in units}
MIDDLE = {unit for unit in FLOOR if unit.startswith("translator") and FLOOR[unit] <= FLOOR["translator.recipes"]}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def unit_of(module: str) -> str:
    """The file or folder of the page that a module belongs to."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in FLOOR:
            return ".".join(parts[:end])
    raise AssertionError(f"docs/architecture.md has no floor for {module}")


FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {module_name(path): path for path in FILES}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in below}
    return found


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "__init__.py"], ids=module_name)
def test_imports_point_down(path):
    module = module_name(path)
    here = unit_of(module)
    for imported in imports_of(path):
        package = imported.split(".")[0]
        if imported in PACKAGES:
            assert package == "cli" or here == "cli", f"{module} goes through the front door of its own house"
        elif imported in MODULES:
            there = unit_of(imported)
            assert here == there or FLOOR[there] < FLOOR[here], f"{module} imports {imported}, which is not below it"
            assert package == module.split(".")[0] or here not in MIDDLE, f"{module} does not know {package}"
        if package in HOLDERS:
            holders = HOLDERS[package]
            assert any(module == h or module.startswith(f"{h}.") for h in holders), f"{module} imports {package}"


def test_no_two_files_import_each_other():
    after = {name: imports_of(path) & MODULES.keys() for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for each in after[name]:
                visit(each, (*above, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_a_folder_is_small_enough_to_be_seen():
    folders = {path.parent for path in FILES}
    large = {str(folder): len(list(folder.glob("*.py"))) for folder in folders}
    assert not {name: count for name, count in large.items() if count > MOST}


def test_every_floor_is_there_and_every_folder_has_one():
    for unit in FLOOR:
        path = ROOT / Path(*unit.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"the page has {unit}, which does not exist"


def test_no_class_name_means_two_things():
    places: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_the_page_of_the_house_names_every_file():
    named = set(re.findall(r"[\w/]+\.py", PAGE))
    short = {path.name for path in FILES if path.name != "__init__.py"}
    assert not short - {Path(name).name for name in named}
    for name in named:  # and no file that does not exist
        assert (
            any(str(path.relative_to(ROOT)).endswith(name) for path in FILES)
            or (ROOT / name).exists()
            or (ROOT / "tests" / name).exists()
        ), name


def test_what_the_page_says_of_where_things_are_decided_is_so():
    table = PAGE.split("## Where is X decided?")[1].split("## Every file")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 20
    found = re.findall(r"`([\w/]+\.py)`((?: `\w+`(?:, (?=`\w+`(?! *`)))?)*)", "\n".join(rows))
    for name, words in found:
        text = (ROOT / name).read_text()
        for word in re.findall(r"`(\w+)`", words):
            assert re.search(rf"^\s*(?:def|class) {word}\b|^{word}\b", text, re.MULTILINE), f"{name} lacks {word}"


def test_commands_go_through_the_front_door_and_no_deeper():
    """A command may use the front doors, the errors and the version; the version and errors load no library."""
    allowed = {"survey_tools", "translator", "survey_tools.errors", "survey_tools.version", "survey_tools.tasks"}
    doors = {"survey_tools": survey_tools.__all__, "translator": translator.__all__}
    for path in FILES:
        module = module_name(path)
        if not module.startswith("cli"):
            continue
        for imported in imports_of(path):
            if imported.split(".")[0] in doors:
                assert imported in allowed, f"{module} imports {imported}"
                assert imported != "survey_tools.tasks" or module in ("cli.bench", "cli.options"), module
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in doors:
                assert node.attr in doors[node.value.id], f"{module} uses {node.value.id}.{node.attr}"
