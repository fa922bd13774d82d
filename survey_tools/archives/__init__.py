"""One file an archive: where its images of a catalogue's objects lie."""
