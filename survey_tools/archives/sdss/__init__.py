"""The archive of SDSS: frames, their noise, PSF and saturation, and targets by SkyServer."""
