"""The Zarr store: its pixels, its columns, its manifest, and whether it is still what it was."""
