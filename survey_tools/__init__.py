"""Galaxy images of surveys: fetched, simulated, stored, cross-matched and regridded.

The names below are the front door. Everything else in the package may change between versions.
"""

import importlib

_FROM = {  # name: the module that has it
    "SURVEYS": "survey_tools.surveys",
    "Survey": "survey_tools.surveys",
    "load_surveys": "survey_tools.surveys",
    "register_survey": "survey_tools.surveys",
    "Store": "survey_tools.store.zarr_store",
    "PartitionedStore": "survey_tools.store.partitioned",
    "open_store": "survey_tools.store.partitioned",
    **dict.fromkeys(
        (
            "archive_options",
            "archive_settings",
            "check_archives",
            "count_targets",
            "describe_surveys",
            "find_targets",
        ),
        "survey_tools.ask",
    ),
    **dict.fromkeys(
        (
            "convert",
            "crossmatch",
            "describe",
            "estimate",
            "export",
            "fetch",
            "ingest",
            "partition",
            "regrid",
            "simulate",
            "verify",
        ),
        "survey_tools.api",
    ),
}
__all__ = sorted(_FROM)


def __getattr__(name: str):
    """Import a name of the front door when it is first asked for, so that `import survey_tools` is quick (PEP 562)."""
    if name not in _FROM:
        raise AttributeError(f"survey_tools has no {name!r}; its front door has {', '.join(__all__)}")
    return getattr(importlib.import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return __all__
