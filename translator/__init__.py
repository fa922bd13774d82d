"""Networks that translate galaxy images between surveys: trained, evaluated and used.

The names below are the front door. Everything else in the package may change between versions.
"""

import importlib
import os

_FROM = {  # name: the module that has it
    "Dataset": "translator.data.dataset",
    "describe_failure": "translator.evaluation.requirements",
    "RECIPES": "translator.recipes",
    "Recipe": "translator.recipes",
    "Step": "translator.recipes",
    "Term": "translator.recipes",
    "Turn": "translator.recipes",
    "stretch": "translator.intensity",
    "unstretch": "translator.intensity",
    **dict.fromkeys(
        (
            "REPORT_FILES",
            "Translations",
            "card",
            "describe_recipe",
            "describe_run",
            "evaluate",
            "export_weights",
            "find_run",
            "import_weights",
            "list_models",
            "load_run",
            "preview",
            "train",
            "translate",
        ),
        "translator.api",
    ),
}
__all__ = sorted(_FROM)


# Threads that spin while they wait make PyTorch up to eight times slower if another program uses the cores too. PyTorch
# reads this variable when it is loaded, which the front door leaves to the first function that needs it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str):
    """Import a name of the front door when it is first asked for, so that `import translator` is quick (PEP 562)."""
    if name not in _FROM:
        raise AttributeError(f"translator has no {name!r}; its front door has {', '.join(__all__)}")
    return getattr(importlib.import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return __all__
