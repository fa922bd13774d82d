"""What a user wants a training to reach: a measure of the report on validation pairs, and how good it shall be."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from survey_tools.errors import ArgumentError
from translator.metrics.measure import Measure
from translator.metrics.table import MEASURES

A_GOAL = re.compile(r"\s*(?:(\w+_to_\w+)\.)?(\w+)(?:\.(\w+))?\s*=\s*(\S+)\s*")
FROM_IMAGES = {"seen", "source", "source_sigma"}  # what a measure may need that real pairs and a run give
USUAL = "signal_residual"  # the measure by which the best state is chosen where none is wanted

Found = Mapping[str, Mapping[str, np.ndarray]]  # domain where translations land -> measure -> its values (band,)


@dataclass(frozen=True)
class Goal:
    """A measure, and the value that it shall be better than.

    Attributes
    ----------
    text : str
        As the user wrote it, without spaces.
    measure : Measure
        The measure; on real pairs that stands for the truth, where the one that the user names needs the truth.
    value : float
        The value; NaN if the measure only tells which state is the best.
    domains : tuple of str
        Where the translations land that are meant.
    band : int or None
        Place of the band; None for the median over all bands.
    """

    text: str
    measure: Measure
    value: float
    domains: tuple[str, ...]
    band: int | None = None

    def distance(self, found: Found) -> float:
        """Return how far a measure is from perfect: the median over bands, and the worse of two directions.

        Infinite if the measure has no value.
        """
        far = []
        for domain in self.domains:
            values = np.abs(np.asarray(found[domain].get(self.measure.name, [np.nan]), float) - self.measure.perfect)
            values = values if self.band is None else values[self.band : self.band + 1]
            known = values[np.isfinite(values)]
            far.append(float(np.median(known)) if len(known) else np.inf)
        return max(far)

    def is_reached(self, found: Found) -> bool:
        """Return whether a measure is closer to perfect than the value of the goal is."""
        return self.distance(found) < abs(self.value - self.measure.perfect)


def parse_goal(text: str, directions: Mapping[str, str], bands: tuple[str, ...], *, operator: bool) -> Goal:
    """Return a goal from its text, such as "signal_residual=0.07" or "sdss_to_cfht.signal_residual.r=0.07".

    Parameters
    ----------
    text : str
        ``[direction.]measure[.band]=value``. Without a direction both are meant, without a band the median over them.
    directions : dict
        Name of a direction to the domain where its translations land.
    bands : tuple of str
        Bands of the training.
    operator : bool
        Whether the recipe has an operator, which the consistency with the input needs.

    Raises
    ------
    ArgumentError
        If it is no goal, or names a direction, measure or band that is not there, or a measure that validation pairs
        cannot show; of the argument "until".
    """
    match = A_GOAL.fullmatch(text)
    try:
        value = float(match[4]) if match else np.nan
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ArgumentError(
            "until", f"{text!r} is no goal; give [direction.]measure[.band]=value, such as {USUAL}=0.07"
        )
    direction, name, band = match[1], match[2], match[3]
    if direction and direction not in directions:
        raise ArgumentError("until", f"no direction is called {direction!r}; known are {', '.join(directions)}")
    measure = on_pairs(name, operator=operator)
    if band and band not in bands:
        raise ArgumentError("until", f"this training has no band {band!r}; it has {', '.join(bands)}")
    if value == measure.perfect:
        raise ArgumentError("until", f"{value:g} is the perfect value of {name}, which no training is better than")
    domains = (directions[direction],) if direction else tuple(directions.values())
    return Goal("".join(text.split()), measure, value, domains, bands.index(band) if band else None)


def on_pairs(name: str, *, operator: bool) -> Measure:
    """Return the measure of a name as real pairs show it: "signal_residual" stands for "signal_residual_real".

    Raises
    ------
    ArgumentError
        If there is no such measure, or if real pairs do not show it.
    """
    if name not in MEASURES:
        raise ArgumentError("until", f"the report has no measure {name!r}; docs/reference/measures.md lists them")
    measure = MEASURES[name]
    if "truth" in measure.needs and f"{name}_real" in MEASURES:
        measure = MEASURES[f"{name}_real"]
    lacking = set(measure.needs) - (FROM_IMAGES if operator else set())
    if lacking:
        needs = "an operator, as psf_matched has one" if lacking <= FROM_IMAGES else f"{', '.join(sorted(lacking))}"
        raise ArgumentError("until", f"{name} cannot be measured on validation pairs: it needs {needs}")
    return measure
