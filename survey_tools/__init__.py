"""Catalogues, cutouts and stores of the surveys that galtrans translates between."""
