"""All measures, in the order of the report."""

from translator.metrics import consistency, paper, photometry, redshift, shapes, signal, sky, sources, spread
from translator.metrics.measure import Measure

GROUPS = {  # heading of the report to the file with its measures
    "The paper's figures": paper,
    "Signal apart from noise": signal,
    "Consistency with the input": consistency,
    "Photometry": photometry,
    "Shape": shapes,
    "Noise": sky,
    "Redshift": redshift,
    "Invention and loss": sources,
    "Spread": spread,
}
MEASURES: dict[str, Measure] = {each.name: each for file in GROUPS.values() for each in file.MEASURES}
POPULATIONS = {each.name for each in MEASURES.values() if each.population}  # they have a floor without a truth
CURVES_OF_POPULATIONS = {each.__name__ for each in (*sky.CURVES, paper.curve_figure6)}  # curves that have one
