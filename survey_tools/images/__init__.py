"""Pixels on the sky: WCSs, cutouts, other grids, and what an image says of its own quality."""
