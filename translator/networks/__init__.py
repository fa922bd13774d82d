"""One file a network, each built from the pixel grids of both domains."""
