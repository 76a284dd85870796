"""The list of symbols."""

import pytest

from ingest.symbols import DEFAULT_FILE, parse


def test_order_is_kept_and_comments_are_not() -> None:
    """Priority is the order of the lines; comments and blank lines mean nothing."""
    assert parse("# best first\nMSFT\n\n BRK.B # a class\nAAPL\n") == ("MSFT", "BRK.B", "AAPL")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("AAPL\naapl", "line 2: 'aapl' is not a symbol such as AAPL or BRK.B"),
        ("AAPL\nMSFT\nAAPL", "line 3: AAPL stands already on line 1"),
        ("# nothing\n", "no symbol in it"),
        ("A B", "line 1: 'A B' is not a symbol such as AAPL or BRK.B"),
    ],
)
def test_mistakes_are_named(text: str, sentence: str) -> None:
    """Each mistake has a sentence that says where it is."""
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        parse(text)


def test_default_list_fits_the_free_plan() -> None:
    """The list that ships has the thirty symbols that the free plan allows."""
    assert len(parse(DEFAULT_FILE.read_text(encoding="utf-8"))) == 30
