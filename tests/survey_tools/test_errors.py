import pytest

from survey_tools.errors import first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("gone"), "gone"),
        (ValueError("\n two\nlines"), "two"),
        (KeyError(), "KeyError"),
        (EOFError("  "), "EOFError"),
    ],
)
def test_an_error_of_a_library_is_said_in_one_line(error, said):
    assert first_line(error) == said
