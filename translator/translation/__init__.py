"""FITS files and stores, translated."""
