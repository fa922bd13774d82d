"""The trained models that come with galtrans, which are run folders inside the package."""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "models"
CARD = "model.json"


@dataclass(frozen=True)
class BuiltInModel:
    """A built-in model.

    Attributes
    ----------
    name : str
        The name that commands take in place of a run.
    path : Path
        Its folder, which is that of a run.
    card : dict
        Content of model.json: title, surveys, bands, training, figures, licence.
    """

    name: str
    path: Path
    card: dict


def models() -> list[BuiltInModel]:
    """Return all built-in models, by name."""
    return [
        BuiltInModel(card.parent.name, card.parent, json.loads(card.read_text()))
        for card in sorted(FOLDER.glob(f"*/{CARD}"))
    ]


def find_model(name: str) -> Path | None:
    """Return the run folder of the built-in model of that name; None if there is none."""
    path = FOLDER / name
    return path if name and Path(name).name == name and (path / CARD).is_file() else None
