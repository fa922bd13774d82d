"""The house of docs/architecture.md: imports point down only, and heavy packages stay on their floors."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND = {"surveys", "photometry", "errors", "atomic", "tan", "version", "amounts", "sky_frames", "tables"}
GROUND |= {"sky_wcs", "catalogue", "crossmatch", "cutout", "overlap", "regrid", "band_fits"}
GROUND |= {"calibration", "companions", "fits_reading", "zeros"}
MIDDLE = {"recipes", "losses", "images", "observing", "use", "share", "networks", "intensity", "metrics"}
FLOOR_OF_PACKAGE = {"survey_tools": 1, "translator": 3, "cli": 4}
HOLDERS = {  # package: the files that may import it
    "zarr": {"survey_tools.store.zarr_store"},
    "click": {"cli"},
    "torch": {"translator"},
    "galsim": {"survey_tools.twin_sky.draw", "survey_tools.twin_sky.galaxies", "translator.metrics.shapes"},
    "statmorph": {"translator.metrics.shapes"},
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor(module: str) -> int:
    package, _, rest = module.partition(".")
    first = rest.split(".")[0]
    if package == "survey_tools" and first in GROUND | {""}:
        return 0
    if package == "translator" and first in MIDDLE | {""}:
        return 2
    return FLOOR_OF_PACKAGE[package]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {
                name if (ROOT / Path(*name.split("."))).with_suffix(".py").exists() else node.module for name in below
            }
    return found


FILES = sorted(path for package in FLOOR_OF_PACKAGE for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path):
    module = module_name(path)
    for imported in imports_of(path):
        package = imported.split(".")[0]
        if package in FLOOR_OF_PACKAGE:
            assert floor(imported) <= floor(module), f"{module} (floor {floor(module)}) imports {imported}"
            same_house = package == module.split(".")[0]
            assert same_house or floor(module) >= 3, f"{module} does not know {package}"
        if package in HOLDERS:
            holders = HOLDERS[package]
            assert any(module == h or module.startswith(f"{h}.") for h in holders), f"{module} imports {package}"


def test_the_page_of_the_house_names_every_file():
    page = (ROOT / "docs" / "architecture.md").read_text()
    missing = [module_name(path) for path in FILES if path.name != "__init__.py" and path.name not in page]
    assert not missing
