"""Measures of how good translations are: arrays in, numbers out. `table.MEASURES` lists them."""
