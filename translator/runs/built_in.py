"""The trained models that come with galtrans: run folders inside the package."""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "models"
CARD = "model.json"


@dataclass(frozen=True)
class BuiltInModel:
    """A built-in model.

    Attributes:
        name: By which commands know it in the place of a run.
        path: Its folder, which is that of a run.
        card: What model.json says of it: title, surveys, bands, training, figures, licence.
    """

    name: str
    path: Path
    card: dict


def models() -> list[BuiltInModel]:
    """All built-in models, by name."""
    return [
        BuiltInModel(card.parent.name, card.parent, json.loads(card.read_text()))
        for card in sorted(FOLDER.glob(f"*/{CARD}"))
    ]


def find_model(name: str) -> Path | None:
    """The run folder of the built-in model of that name; None where there is none."""
    path = FOLDER / name
    return path if name and Path(name).name == name and (path / CARD).is_file() else None
