"""A training that is watched: measures of the report on pairs that do not train, and the best state so far.

Nothing of this touches the random numbers of the training, its networks or its order of images.
"""

import copy
import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from torch import nn

from survey_tools.errors import RunError
from survey_tools.files import whole_file
from survey_tools.sphere import friends_of_friends, unit_vectors
from survey_tools.store.zarr_store import Store
from translator.data.conditions import NAMES, alignment_into, as_tensor
from translator.data.reading import read_rows
from translator.images import OTHER, Known
from translator.metrics.blank import blank_sigma
from translator.metrics.measure import Sample
from translator.networks.measured_survey import MeasuredSurvey
from translator.observing import leads_down, observe
from translator.report.measuring import families
from translator.runs.apply import noise_seed, request_like, resampled, translate_each
from translator.runs.checkpoint import BEST, Checkpoint, Run, load_weights, read_checkpoint, read_progress, save_best
from translator.training.flux_scatter import measure_flux_scatter
from translator.training.goal import USUAL, Goal, on_pairs

MOST = 64  # largest number of pairs that are measured, so that a validation is quick
SHARE = 0.1  # of the training pairs, which are held out if the pair table holds out none
SHOWN = (USUAL, "aperture_offset", "aperture_scatter", "noise_amplitude", "consistency")  # where they can be measured
AT_ONCE = 8  # images that pass the networks together
FILE = "validation.json"  # within the folder of a run
FROM_TABLE = "the pair table"  # where validation pairs are from, as run.json states it
FROM_TRAINING = "the pairs that train"


def hold_out(stores: tuple[Store, Store], pairs: Table, trained: np.ndarray, seed: int) -> Table:
    """Return a pair table in which some of the pairs that train are held out for validation.

    They are whole groups of galaxies whose cutouts could overlap, drawn at random: a tenth of the pairs that train, and
    at most `MOST`.

    Parameters
    ----------
    stores : tuple of Store
        The stores x and y.
    pairs : Table
        Their pair table, none of whose pairs is for validation.
    trained : array of int
        Rows of both stores of the pairs that train (pair, 2).
    seed : int
        Seed of the training.

    Raises
    ------
    RunError
        If no group is small enough.
    """
    wanted = min(MOST, math.ceil(SHARE * len(trained)))
    points = unit_vectors(*(stores[0].column(name)[trained[:, 0]] for name in ("ra", "dec")))
    link = math.sqrt(2) * max(store.size * store.pixel_scale for store in stores) + 2 * pairs.meta.get("radius", 1.0)
    group = friends_of_friends(points, math.radians(link / 3600))
    sizes, chosen, total = np.bincount(group).tolist(), [], 0
    for each in np.random.default_rng([seed, 1]).permutation(len(sizes)).tolist():
        if total + sizes[each] <= wanted:
            chosen.append(each)
            total += sizes[each]
        if total == wanted:
            break
    if not chosen or len(trained) < 2:
        raise RunError(
            f"no {wanted} of the {len(trained)} pairs that train can be held out for validation, because the cutouts "
            "of more of them overlap on the sky; make the pair table with `galtrans crossmatch … --validation-size N`"
        )
    held = {tuple(rows) for rows in trained[np.isin(group, chosen)].tolist()}
    marked = pairs.copy()
    rows = zip(pairs["x_row"], pairs["y_row"], pairs["split"], strict=True)
    marked["split"] = ["validation" if (int(x), int(y)) in held else str(split) for x, y, split in rows]
    return marked


def describe_pairs(rows: np.ndarray, source: str) -> dict:
    """Return what run.json states about validation pairs: their rows (pair, 2), as a checksum, and where they are from.

    All of `rows` do not train; `measured` of them are measured.
    """
    digest = hashlib.sha256("".join(f"{x} {y}\n" for x, y in rows.tolist()).encode()).hexdigest()
    return {"pairs": len(rows), "measured": min(len(rows), MOST), "from": source, "checksum": digest}


@dataclass
class Past:
    """The validations of a run so far.

    Attributes
    ----------
    path : Path
        Folder of the run.
    entries : list of dict
        Each has "iteration", "step" (counted from 1), "values" (direction to measure to a number for each band),
        "distance" of the measure that decides from perfect, "best": whether no kept state is better, and "ends": why
        the step ends, or "".
    """

    path: Path
    entries: list[dict] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, iteration: int) -> "Past":
        """Return the validations of a run up to an iteration; later ones will come again."""
        try:
            entries = json.loads((path / FILE).read_text())
            return cls(path, [each for each in entries if each["iteration"] <= iteration])
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path / FILE} is damaged; delete it, and the run is resumed without its past") from error

    def add(self, entry: dict) -> None:
        """Add a validation, also on disk."""
        self.entries.append(entry)
        with whole_file(self.path / FILE) as temporary:
            temporary.write_text(json.dumps(self.entries, indent=1) + "\n")

    def ends(self, iteration: int) -> str:
        """Return why the step ends at an iteration; "" if it does not, or if there was no validation then."""
        return self.entries[-1]["ends"] if self.entries and self.entries[-1]["iteration"] == iteration else ""


class Validation:
    """The measures of a training on its validation pairs, its best state, and when it stops.

    Parameters
    ----------
    stores : tuple of Store
        The stores x and y.
    rows : array of int
        Rows of both stores of the pairs that are held out (pair, 2).
    every : int
        Iterations between validations.
    goal : Goal or None
        What the training shall reach.
    patience : int or None
        After how many validations without a better one a step ends.
    path : Path
        Folder of the run.
    iteration : int
        Iterations done.
    operator : bool
        Whether the recipe has an operator.

    Attributes
    ----------
    by : Goal
        The measure by which the best state is chosen.
    """

    def __init__(
        self,
        stores: tuple[Store, Store],
        rows: np.ndarray,
        every: int,
        goal: Goal | None,
        patience: int | None,
        path: Path,
        iteration: int,
        *,
        operator: bool,
    ) -> None:
        some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(int))
        self.rows, self.every, self.goal, self.patience = rows[some], every, goal, patience
        self.by = goal or Goal(USUAL, on_pairs(USUAL, operator=operator), np.nan, tuple(OTHER))
        self._stores, self._named = stores, dict(zip(OTHER, stores, strict=True))
        names = [name for name in SHOWN if name != "consistency" or operator]
        self._measures = list(dict.fromkeys([*(on_pairs(name, operator=operator) for name in names), self.by.measure]))
        self._past = Past.read(path, iteration)
        self._samples: dict[str, Sample] = {}

    def is_due(self, iteration: int, *, last: bool) -> bool:
        """Return whether there is a validation after an iteration, which may be the last of a step."""
        return last or iteration % self.every == 0

    def ends(self, iteration: int) -> str:
        """Return why the present step ends at an iteration; "" if it does not."""
        why = self._past.ends(iteration)
        return why if why in self.reasons else ""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why steps may end early."""
        return reasons_to_end(self.goal.text if self.goal else None, self.patience)

    def direction(self, domain: str) -> str:
        """Return the name of the direction whose translations land in `domain`."""
        return direction_of(self._stores, domain)

    def validate(self, run: Run, step: int, *, final: bool, past: Sequence[str]) -> dict:
        """Measure a training, and add the result to its past.

        Parameters
        ----------
        run : Run
            The model as it is. Its networks and their modes are left as they are.
        step : int
            Number of the step, counted from 1.
        final : bool
            Whether the step is the recipe's last, in which all networks have been trained; only then may a state be the
            best.
        past : sequence of str
            Why earlier steps have ended early. A goal that has ended one ends no other.

        Returns
        -------
        dict
            As of `Past`.
        """
        found = self.measure(run)
        distance = self.by.distance(found)
        values = {
            self.direction(domain): {
                name: [float(f"{value:.6g}") if np.isfinite(value) else None for value in each.tolist()]
                for name, each in measured.items()
            }
            for domain, measured in found.items()
        }
        entry = {"iteration": run.iteration, "step": step, "values": values}
        entry |= {"distance": distance if math.isfinite(distance) else None, "ends": ""}
        entry["best"] = final and self._is_best(distance, run)
        before = [each for each in self._past.entries if each["step"] == step]
        if self.goal and self.reasons[0] not in past and self.goal.is_reached(found):
            entry["ends"] = self.reasons[0]
        elif self.patience and _without_better([*before, entry]) >= self.patience:
            entry["ends"] = self.reasons[-1]
        self._past.add(entry)
        return entry

    def measure(self, run: Run) -> dict[str, dict[str, np.ndarray]]:
        """Return the measures of a model on the validation pairs, by the domain where translations land."""
        modes = {module: module.training for module in run.networks.modules()}
        devices = [run.device] if run.device.type == "cuda" else []
        run.networks.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of a band in which no galaxy could be measured
                return {domain: self._measured(run, domain) for domain in OTHER}
        finally:
            for module, mode in modes.items():
                module.training = mode

    def keep_best(self, run: Run, step: int, facts, distance: float) -> None:
        """Keep a state of a training, its last step having the number `step`, as the best one so far."""
        said = {"measure": self._best_measure, "distance": distance}
        checkpoint = Checkpoint(run.iteration, step, run.networks.state_dict(), {}, best=said)
        save_best(run.path, replace(facts, best_by=self._best_measure), checkpoint)

    def finish_best(self, run: Run, facts, pairs: np.ndarray) -> None:
        """Measure, for the best state, what is measured when a training ends: the scatter of fluxes."""
        best = read_checkpoint(run.path / BEST)
        if best is None or best.iteration == run.iteration:
            return
        networks = copy.deepcopy(run.networks)
        if not any(isinstance(network, MeasuredSurvey) for network in networks.values()):
            return
        load_weights(networks, best, run.path / BEST)
        measure_flux_scatter(replace(run, networks=networks, iteration=best.iteration), self._stores, pairs)
        save_best(run.path, replace(facts, best_by=self._best_measure), replace(best, networks=networks.state_dict()))

    def describe(self) -> str:
        """Return a line on the pairs, for the user."""
        return f"pairs for validation, which do not train: {len(self.rows)}, measured every {self.every:,} iterations"

    @property
    def _best_measure(self) -> str:
        """The measure of the best state in words, with its direction and band where these are chosen."""
        return self.by.text.partition("=")[0]

    def _is_best(self, distance: float, run: Run) -> bool:
        """Return whether no kept state is better; of two that are alike the later one is kept."""
        best = read_best(run.path)
        if best is None or best["measure"] != self._best_measure or best["iteration"] == run.iteration:
            return math.isfinite(distance)
        return distance <= best["distance"]

    def _measured(self, run: Run, domain: str) -> dict[str, np.ndarray]:
        """Return the measures of translations into a domain."""
        sample = self._translated(run, domain)
        found = {}
        for family in families(each for each in self._measures if each.applies(sample)):
            statistics = family[0].each(sample)
            found |= {each.name: np.asarray(each.summary(statistics), float) for each in family}
        return found

    def _translated(self, run: Run, domain: str) -> Sample:
        """Return the pairs with their translations into a domain."""
        pairs, rows = self._pairs(domain), self._rows
        request = request_like(self._named, rows, domain, pairs.target) if run.use.reads_any else None
        seeds = [noise_seed(0, f"validation {row}") for row in rows[domain]]
        how = {"request": request, "at_once": AT_ONCE}
        output = _whole(translate_each(run, pairs.source, domain, seeds, noise=True, **how), pairs.output)
        signal = output
        if run.use.is_random(run.networks, domain):
            signal = _whole(translate_each(run, pairs.source, domain, seeds, noise=False, **how), pairs.output)
        return replace(pairs, output=output, signal=signal, seen=self._seen(run.networks, domain, signal))

    def _pairs(self, domain: str) -> Sample:
        """Return the pairs of a direction, read once; in the place of translations are interpolated images."""
        if domain not in self._samples:
            here, there, rows = self._named[OTHER[domain]], self._named[domain], self._rows
            source, target = read_rows(here, rows[OTHER[domain]]), read_rows(there, rows[domain])
            plain = resampled(source, alignment_into(self._named, rows, domain), there.size)
            stated = {each: self._named[each].column("sky_sigma")[rows[each]] for each in OTHER}
            self._samples[domain] = Sample(
                bands=there.bands,
                pixel_scale=there.pixel_scale,
                output=plain,
                signal=plain,
                target=target,
                sigma=blank_sigma(target, stated[domain], there.bands, there.pixel_scale),
                source=source,
                source_scale=here.pixel_scale,
                source_sigma=blank_sigma(source, stated[OTHER[domain]], here.bands, here.pixel_scale),
                source_gain=here.column("gain")[rows[OTHER[domain]]],
            )
        return self._samples[domain]

    @property
    def _rows(self) -> dict[str, np.ndarray]:
        """Rows of the pairs in both stores."""
        return {domain: self.rows[:, number] for number, domain in enumerate(OTHER)}

    def _seen(self, networks: nn.ModuleDict, domain: str, signal: np.ndarray) -> np.ndarray | None:
        """Return signals as the survey of the input would see them; None without an operator that leads there."""
        poorer = OTHER[domain]
        if f"operator_{poorer}" not in networks or not leads_down(networks, poorer):
            return None
        here, there, rows = self._named[poorer], self._named[domain], self._rows
        device = next(networks[f"operator_{poorer}"].parameters()).device
        known = Known(*(as_tensor(there.column(name)[rows[domain]], device) for name in NAMES))
        seeing = as_tensor(here.column("psf_fwhm")[rows[poorer]], device)
        alignment = as_tensor(alignment_into(self._named, rows, domain), device)
        seen = []
        for start in range(0, len(signal), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            image, its = as_tensor(signal[some], device), known.map(lambda values, some=some: values[some])
            seen.append(observe(networks, poorer, image, its, seeing[some], alignment[some], here.size).cpu().numpy())
        return np.concatenate(seen).astype(np.float32)


def direction_of(stores: tuple[Store, Store], domain: str) -> str:
    """Return the name of the direction whose translations land in `domain`, such as "sdss_to_cfht"."""
    named = dict(zip(OTHER, stores, strict=True))
    return "_to_".join(named[each].survey["name"] for each in (OTHER[domain], domain))


def read_best(path: Path) -> dict | None:
    """Return "measure", "distance" and "iteration" of the best state that a run keeps; None if it keeps none."""
    saved = read_progress(path / BEST)
    return None if saved is None else saved.best | {"iteration": saved.iteration}


def reasons_to_end(until: str | None, patience: int | None) -> tuple[str, ...]:
    """Return why steps may end early: they have reached a goal, or did not become better."""
    reached = (f"reached {''.join(until.split())}",) if until else ()
    return (*reached, f"no better in {patience} validations") if patience else reached


def _without_better(entries: Sequence[dict]) -> int:
    """Return how many validations there were after the best one, or after the last that was as good."""
    distances = [math.inf if each["distance"] is None else each["distance"] for each in entries]
    return distances[::-1].index(min(distances))


def _whole(made: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Return translations in which the interpolated image takes the place of missing pixels, as in the report."""
    return np.where(np.isfinite(made), made, plain).astype(np.float32)
