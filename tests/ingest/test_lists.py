"""Where a list of symbols may be, what an answer says, and which list counts."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.lists import ANSWER_BYTES, Listing, Question, choose, question, read_answer

PAGE = question("https://lists.example/us.txt")
TABLE = question("clickhouse://reader:hush@ch.example:8124/market/followed_symbols")


def test_a_page_is_asked_for_as_it_is_named() -> None:
    """Path and query are kept; what may be a token is not told."""
    asked = question("http://lists.example:8080/us?token=hush")
    assert asked.url == "http://lists.example:8080/us?token=hush"
    assert asked.origin == "http://lists.example:8080/us?..."
    assert asked.body is None
    assert not asked.headers


def test_a_password_goes_into_the_request_alone() -> None:
    """Neither the origin nor the repr of a question has it; percent signs are read."""
    asked = question("https://ann:hu%40sh@lists.example/us.txt")
    basic = b64encode(b"ann:hu@sh").decode()
    assert asked.headers == {"Authorization": f"Basic {basic}"}
    assert asked.url == asked.origin == "https://lists.example/us.txt"
    assert TABLE.headers == {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "hush"}
    for shown in (repr(asked), repr(TABLE), TABLE.origin, TABLE.url, repr(TABLE.body)):
        assert not any(secret in shown for secret in ("hush", "hu@sh", "hu%40sh", basic))


def test_a_table_is_asked_for_in_order_of_priority() -> None:
    """The last row of a symbol counts, and those that are not followed are left out."""
    assert TABLE.url == "http://ch.example:8124/"
    assert TABLE.origin == "clickhouse://ch.example:8124/market/followed_symbols"
    assert TABLE.body == (
        b"SELECT symbol FROM `market`.`followed_symbols` FINAL WHERE followed "
        b"ORDER BY priority, symbol FORMAT JSONCompactColumns"
    )
    usual = question("clickhouse://[::1]/market/t")
    assert usual.url == "http://[::1]:8123/"
    assert usual.headers == {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}


@pytest.mark.parametrize(
    "source",
    [
        "lists.txt",
        "ftp://ann:hush@lists.example/us.txt",
        "http:///us.txt",
        "http://ann:hush@lists.example:port/us.txt",
        "http://ann:hush@lists.example:99999/us.txt",
        "http://[ann:hush",
        "http://ann:hu sh@lists.example/us.txt",
        "http://ann:hush@lists.example/us\n.txt",
        "clickhouse://ann:hush@ch.example/market",
        "clickhouse://ann:hush@ch.example/market/a/b",
        "clickhouse://ann:hush@ch.example/market/t;DROP",
        "clickhouse://ann:hush@ch.example/mar`ket/t",
        "clickhouse://ann:hush@ch.example/market/t?x=1",
        "clickhouse://ann:hush%0D%0AX-Evil:1@ch.example/market/t",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(source: str) -> None:
    """The sentence says what is expected, and nothing of what may be a password."""
    with pytest.raises(ValueError, match=r"^expected ") as refused:
        question(source)
    assert "hu" not in str(refused.value).replace("http", "")


@pytest.mark.parametrize(
    "body", [b"MSFT\nBRK.B # a class\n", b'["MSFT","BRK.B"]', b'\n [ "MSFT",\n "BRK.B" ]\n']
)
def test_a_page_is_lines_or_an_array(body: bytes) -> None:
    """As in the file, or as programs write it; the order is the priority."""
    assert read_answer(PAGE, 200, body) == ("MSFT", "BRK.B")


def test_a_table_is_a_column() -> None:
    """As ClickHouse writes JSONCompactColumns."""
    assert read_answer(TABLE, 200, b'[\n\t["MSFT", "BRK.B"]\n]') == ("MSFT", "BRK.B")


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (404, b"no such page, hush", "answered with status 404"),
        (200, b"<!DOCTYPE html>\n<title>Sign in</title>", "line 1: '<!DOCTYPE html>' is not a"),
        (200, b"<" * 1000, f"line 1: '{'<' * 40}...' is not a symbol such as AAPL or BRK.B"),
        (200, b"AAPL\nMSFT\naapl\n", "line 3: 'aapl' is not a symbol such as AAPL or BRK.B"),
        (200, b"AAPL\nAAPL\n", "line 2: AAPL stands already on line 1"),
        (200, b"", "no symbol in it"),
        (200, b"[]", "no symbol in it"),
        (200, b"\xff\n", "did not answer text in UTF-8"),
        (200, b'["AAPL",7]', "did not answer a JSON array of strings: Expected `str`, got `int`"),
        (200, b'["AAPL","MS', "did not answer a JSON array of strings: Input data was truncated"),
        (200, b'["AAPL","BRK B"]', "entry 2: 'BRK B' is not a symbol such as AAPL or BRK.B"),
        (200, b"A\n" * ANSWER_BYTES, f"answered more than {ANSWER_BYTES} bytes"),
    ],
)
def test_what_is_no_list_is_named(status: int, body: bytes, sentence: str) -> None:
    """One bad line is enough: half a list would be another list."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # compared below
        read_answer(PAGE, status, body)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            404,
            b"Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)\nmore\n",
            "answered with status 404: Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)",
        ),
        (403, b"wrong password 'hush'", "answered with status 403: wrong password '***'"),
        (500, b"", "answered with status 500"),
        (200, b"AAPL\n", "did not answer a JSON array of strings: JSON is malformed"),
        (200, b'[["AAPL"],["1"]]', "answered 2 columns, expected one"),
        (200, b"[]", "no symbol in it"),
        (200, b"[[]]", "no symbol in it"),
        (200, b'[["AAPL # a comment"]]', "entry 1: 'AAPL # a comment' is not a symbol"),
    ],
)
def test_what_clickhouse_complains_of_is_repeated(status: int, body: bytes, sentence: str) -> None:
    """Its own words tell what to mend, without the password that it may quote."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # compared below
        read_answer(TABLE, status, body)
    assert str(refused.value).startswith(sentence)


@given(st.integers(100, 599), st.binary(max_size=200), st.sampled_from([PAGE, TABLE]))
def test_any_answer_is_a_list_or_a_sentence(status: int, body: bytes, asked: Question) -> None:
    """Whatever a server says, nothing else comes of it."""
    try:
        symbols = read_answer(asked, status, body)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # either way is right
    else:
        assert symbols
        assert len(set(symbols)) == len(symbols)


FILE = Listing(symbols=("AAPL",), origin="symbols.txt")
NEW_FILE = Listing(symbols=("AAPL", "MSFT"), origin="symbols.txt")
REMOTE = Listing(symbols=("TSLA",), origin=PAGE.origin)
NEW_REMOTE = Listing(symbols=("TSLA", "NVDA"), origin=PAGE.origin)


@pytest.mark.parametrize(
    ("kept", "answered", "file", "chosen"),
    [
        (FILE, REMOTE, FILE, REMOTE),  # the source counts for more
        (FILE, None, FILE, FILE),  # it has not answered yet
        (FILE, None, NEW_FILE, NEW_FILE),  # and the file is read again meanwhile
        (FILE, None, None, FILE),
        (REMOTE, None, NEW_FILE, REMOTE),  # it answered once: its last good list is kept
        (REMOTE, None, None, REMOTE),
        (REMOTE, NEW_REMOTE, FILE, NEW_REMOTE),
    ],
)
def test_the_best_list_there_is_counts(
    kept: Listing, answered: Listing | None, file: Listing | None, chosen: Listing
) -> None:
    """An answer, else its last, else the file, else what the file said last."""
    assert choose(kept, answered=answered, asked=PAGE, file=file) == chosen


@pytest.mark.parametrize(("file", "chosen"), [(NEW_FILE, NEW_FILE), (None, FILE)])
def test_without_a_source_the_file_counts(file: Listing | None, chosen: Listing) -> None:
    """Or what it said when it was last a list."""
    assert choose(FILE, answered=None, asked=None, file=file) == chosen
