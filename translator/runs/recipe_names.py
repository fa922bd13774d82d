"""Names of recipes: "two_step" for a row of `RECIPES`, "my_module:NAME" for a recipe from outside the package.

A run states the name of its recipe in run.json, and whoever opens the run finds the recipe by that name. So a recipe
from outside is best a name at the top of a module that can be imported. A recipe that only a notebook or a script has
also trains; its run is opened by `load_run(path, recipe=MINE)`.

Opening a run of a recipe from outside executes the module that it names, if Python can find that module. Modules that
lie in the folder of a run are refused, so that a run folder from elsewhere cannot bring code with it.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from survey_tools.errors import RunError, first_line
from survey_tools.version import VERSION
from translator.recipes import RECIPES, Recipe

MAIN = "__main__"  # the module of a notebook, or of a script that Python was started with
UNNAMED = "<unnamed>"  # stands for the name of a recipe that no module has


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    A module is looked for where Python looks for modules, and then in the current directory.

    Parameters
    ----------
    name : str
        A row of `RECIPES`, such as "two_step", or "my_module:NAME".

    Raises
    ------
    RunError
        If no recipe has that name. The message says which names are known, or why the module cannot be imported and
        what to do.

    Examples
    --------
    >>> from translator.runs.recipe_names import find_recipe
    >>> find_recipe("cyclegan").title
    '(b) unpaired: cycles and discriminators'
    """
    if name in RECIPES:
        return RECIPES[name]
    module, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module.split(".")):
        raise RunError(
            f"no recipe is called {name!r}; known are {', '.join(RECIPES)} (in galtrans {VERSION}), and my_module:NAME "
            "for a recipe of your own"
        )
    found = getattr(_module(module, attribute), attribute, None)
    if isinstance(found, Recipe):
        return found
    if module == MAIN:
        raise RunError(
            f"the recipe {attribute} was made in a notebook or a script, which cannot be imported; in Python open the "
            "run by load_run(path, recipe=...); for the command line put the recipe into a module and write its "
            "my_module:NAME as the recipe in run.json"
        )
    wrong = "no such name" if found is None else f"a {type(found).__name__} of that name, which is no Recipe"
    raise RunError(f"{name} is no recipe: the module {module} has {wrong}")


def name_recipe(recipe: str | Recipe) -> str:
    """Return the name by which a run remembers a recipe.

    Parameters
    ----------
    recipe : str or Recipe
        A name, which is returned as it is, or the recipe itself.

    Returns
    -------
    str
        The row of `RECIPES`, or "module:NAME" if an imported module has the recipe under that name. The module of a
        notebook or script is "__main__"; a recipe that no module has is "__main__:<unnamed>".
    """
    if isinstance(recipe, str):
        return recipe
    for name, row in RECIPES.items():
        if row is recipe:
            return name
    main = sys.modules[MAIN]  # which may have other names too
    others = [(name, module) for name, module in sys.modules.items() if module is not main]
    for name, module in [*others, (MAIN, main)]:
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is recipe and not attribute.startswith("_"):
                return f"{name}:{attribute}"
    return f"{MAIN}:{UNNAMED}"


def is_importable(name: str) -> bool:
    """Return whether another process can find a recipe by its name."""
    return not name.startswith(f"{MAIN}:")


def _module(module: str, attribute: str) -> object:
    """Import a module, also from the current directory; RunError, with what to do, if that fails."""
    if module in sys.modules:
        return sys.modules[module]
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    name = f"{module}:{attribute}"
    try:
        _refuse_code_of_a_run(module)
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RunError(
            f"the recipe {name} cannot be imported ({error}): start from the folder of that module, or add the folder "
            f"to PYTHONPATH; in Python, load_run(path, recipe={attribute}) opens a run of it"
        ) from error
    except RunError:
        raise
    except Exception as error:  # whatever a module of the user's may raise
        raise RunError(
            f"the recipe {name} cannot be imported: its module fails with {type(error).__name__}: {first_line(error)}"
        ) from error


def _refuse_code_of_a_run(module: str) -> None:
    """RunError if a module lies in the folder of a run, so that no run from elsewhere can bring code with it."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
    for place in filter(None, places):
        if any((folder / "run.json").exists() for folder in Path(place).absolute().parents):
            raise RunError(
                f"{place} lies in the folder of a run, and galtrans imports no code from there; move it elsewhere"
            )
