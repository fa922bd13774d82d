"""YAML between two lines of dashes, as the cards of the Hugging Face Hub begin."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any


def front_matter(facts: Mapping[str, Any]) -> str:
    """Return facts as the first lines of a card.

    Parameters
    ----------
    facts : mapping
        Text, whole numbers, finite numbers, truth values, and lists and mappings of these.

    Returns
    -------
    str
        Lines of YAML; text is quoted as in JSON, which is YAML too.
    """
    return "\n".join(["---", *_lines(facts), "---"]) + "\n"


def _lines(value: Any) -> Iterator[str]:
    """Yield the lines of a mapping or of a list."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if _is_nested(each):
                yield f"{key}:"
                yield from (f"  {line}" for line in _lines(each))
            else:
                yield f"{key}: {_scalar(each)}"
        return
    for each in value:
        first, *others = list(_lines(each)) if _is_nested(each) else [_scalar(each)]
        yield f"- {first}"
        yield from (f"  {line}" for line in others)


def _is_nested(value: Any) -> bool:
    """Return whether a value needs lines of its own."""
    return isinstance(value, Mapping | list | tuple) and len(value) > 0


def _scalar(value: Any) -> str:
    """Return one value. YAML 1.1 takes a number with an exponent for text unless it has a point."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in a card")
        digits, e, exponent = repr(value).partition("e")
        return (
            f"{digits}{'' if '.' in digits else '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"
            if e
            else digits
        )
    return json.dumps(value, ensure_ascii=False)
