"""The archives that the command line knows, by the name of their survey."""

from collections.abc import Callable

import survey_tools.archives.cfht.archive as cfht
import survey_tools.archives.sdss.archive as sdss
from survey_tools.archives.plan import Access, Archive

ARCHIVES: dict[str, Callable[[Access], Archive]] = {"sdss": sdss.open_archive, "cfht": cfht.open_archive}
