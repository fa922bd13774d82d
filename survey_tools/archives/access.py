"""How a user wants an archive to be reached."""

from dataclasses import dataclass, field
from pathlib import Path

from survey_tools.archives.manner import USUAL
from survey_tools.archives.mirror import Mirror
from survey_tools.archives.settings import Settings, read_settings
from survey_tools.calibration import SILENT, Given


@dataclass(frozen=True)
class Access:
    """How a user wants an archive to be reached.

    Attributes:
        work: Folder for files that are in use.
        mirror: Local folder, or http(s) URL, of the archive's files; None is the live archive.
        keep: Folder where downloaded files stay; None drops each after its use.
        limit: Bytes that `keep` may hold; None is no limit.
        psf: Whether the SDSS point-spread functions (psField files) are read as well.
        masks: Whether the SDSS masks of saturated pixels (fpM files) are read as well; None reads those that lie in a
            local mirror, and downloads none.
        how: "tiles", "windows" or "auto": whole CFHT stacks, or windows that the server cuts.
        frames: "named", "list" or "auto": SDSS frames by the catalogue's columns, or by position in the field list.
        given: What the user says of the calibration of files of the mirror that state none.
        settings: Addresses and limits of the live archives.
    """

    work: Path
    mirror: str | None = None
    keep: Path | None = None
    limit: int | None = None
    psf: bool = True
    masks: bool | None = None
    how: str = "auto"
    frames: str = "auto"
    given: Given = SILENT
    settings: Settings = field(default_factory=read_settings)

    def files(self, root: str, *others: str, listed: bool = False) -> Mirror:
        """The files under a root, downloaded and kept as the user wants.

        `others` are further roots of the same files; `listed` says that the archive's own list has the files, so that
        it is a passing state if one is not there. A mirror of the user's is asked less patiently than a live archive.
        """
        manner = self.settings.manner if self.mirror is None else USUAL
        return Mirror(root, self.work, self.keep, self.limit, others, manner.for_listed() if listed else manner)
