"""Networks, one file each, built from the pixel grids of both domains."""
