"""Translation of FITS files and of stores by a trained run."""
