"""Translate a partitioned store into another one: each partition is one task."""

from dataclasses import dataclass
from pathlib import Path

from survey_tools.partitions.derived import derive_partitions
from survey_tools.partitions.making import IN_LINE
from survey_tools.store.partitioned import Partition, PartitionedStore, open_store
from survey_tools.store.zarr_store import Store
from survey_tools.tasks import Engine
from translator.runs.checkpoint import Run, RunAt, locate
from translator.translation.asking import How, settled
from translator.translation.stores import domain_of_store, settings_of, translate_store


@dataclass(frozen=True)
class _Job:
    """What a task needs to translate a partition."""

    at: RunAt
    to: str | None
    how: How
    device: str

    def __call__(self, source: Path, out: Path, part: Partition) -> Store:
        """Translate one partition."""
        how = {"to": self.to, "how": self.how, "device": self.device, "first_row": part.first}
        return translate_store(self.at.open(), source, out, engine=IN_LINE, **how)


def translate_partitions(
    run_path,
    store_path,
    out,
    *,
    to: str | None = None,
    how: How | None = None,
    device: str = "auto",
    engine: Engine | None = None,
    overwrite: bool = False,
) -> PartitionedStore:
    """Translate every object of a partitioned store into a new one, with the images that `translate_store` makes.

    Parameters
    ----------
    run_path : path-like or Run
        A trained run.
    store_path : path-like
        The partitioned store.
    out : path-like
        Where the new one will be. An interrupted call is resumed by the same call, to the same bytes.
    to, how, device
        As for `translate_store`.
    engine : Engine, optional
        Where tasks run; each partition is one.
    overwrite : bool
        Whether to replace an existing partitioned store.

    Returns
    -------
    PartitionedStore
        The translations.

    Raises
    ------
    RunError, StoreError
        As for `translate_store`.
    """
    engine, how, store = engine or Engine(), how or How(), open_store(store_path)
    elsewhere = engine.client is not None
    at, run = locate(run_path if isinstance(run_path, Run) else Path(run_path), device, elsewhere=elsewhere)
    domain, make = domain_of_store(run, store, to, how), _Job(at, to, how, device)
    settings = settings_of(run, store, domain, settled(how, run))
    return derive_partitions(store, out, settings, make, engine, "translate", overwrite=overwrite)
