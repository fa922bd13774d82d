"""Which survey an image is of, as far as its headers tell: so that nobody takes one survey's image for another's."""

from collections.abc import Iterable

from astropy.io import fits

from survey_tools.band_fits import header_text
from survey_tools.surveys import MARKS, SURVEYS, Survey

SCALE_TOLERANCE = 0.02  # relative, by which an image's pixels may differ from those of its survey
STATED = ("SURVEY", "TELESCOP", "INSTRUME")  # keywords whose text may name a survey, its telescope or its camera


def unknown_survey(headers: Iterable[fits.Header]) -> str:
    """The survey that a header names by SURVEY and that galtrans has no row for; "" where none does."""
    stated = [str(header.get("SURVEY", "")).strip() for header in headers]
    known = [mark.lower() for marks in MARKS.values() for mark in marks]
    return next((header_text(text) for text in stated if text and not any(each in text.lower() for each in known)), "")


def contradiction(survey: Survey, headers: Iterable[fits.Header], scale: float, wanted_scale: float) -> str:
    """Why an image is no observation of a survey, in words that name keyword and value; "" where nothing says so.

    Args:
        survey: That the image should be of.
        headers: Of the primary HDU and of the image's bands.
        scale: Its pixels [arcsec].
        wanted_scale: The pixels that images of the survey are read with [arcsec].
    """
    affirmed = False
    for header in headers:
        if header.get("SYNTH") is True:
            into = str(header.get("GTTO", "")).strip()
            return f"SYNTH = T: it is a translation{f' into {into}' if into else ''} and no observation"
        for key in STATED:
            text = str(header.get(key, "")).strip()
            named = [name for name, marks in MARKS.items() if any(mark.lower() in text.lower() for mark in marks)]
            affirmed |= survey.name in named
            if named and survey.name not in named:
                return f"{key} = {header_text(text)!r}, which is not {survey.title}"
        told = str(header.get("FILTER", "")).strip()  # the letter of a band is that of any survey
        of = [each for each in SURVEYS.values() if told in each.filters and told not in survey.bands]
        if of and survey.name not in [each.name for each in of]:
            return f"FILTER = {header['FILTER']!r}, a filter of {of[0].title} and not of {survey.title}"
    if affirmed or abs(scale / wanted_scale - 1) <= SCALE_TOLERANCE:
        return ""
    for each in SURVEYS.values():
        if each.name != survey.name and abs(scale / each.pixel_scale - 1) <= SCALE_TOLERANCE:
            return (
                f"pixels of {scale:.3f} arcsec, as {each.title} has them, where {survey.title} has {wanted_scale:g}, "
                f"and no keyword {', '.join(STATED)} that names {survey.title}"
            )
    return ""
