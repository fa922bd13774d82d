"""The pages of the report card: measures, plots, panels and their HTML."""
