"""FITS files, read whatever their form and written with all that is known."""
