"""The archives that the command line knows, by the name of their survey."""

from collections.abc import Callable

from survey_tools.archives import cfht, sdss
from survey_tools.archives.access import Access
from survey_tools.archives.plan import Archive

ARCHIVES: dict[str, Callable[[Access], Archive]] = {"sdss": sdss.open_archive, "cfht": cfht.open_archive}
