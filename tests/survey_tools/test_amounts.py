from survey_tools.progress import duration, size


def test_numbers_in_words():
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 1.5e12, 2e15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 MB",
        "1.5 TB",
        "2e+03 TB",
    ]
    assert [duration(s) for s in (0.1, 40, 200, 20_000, 300_000)] == ["1 s", "40 s", "3.3 min", "5.6 h", "3.5 days"]
