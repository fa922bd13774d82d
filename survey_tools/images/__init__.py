"""Pixels on the sky: WCSs, cutouts, other grids, and the quality of an image from the image itself."""
