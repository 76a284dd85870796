"""Whatever is said, by whomever: each line is one JSON object, and holds no secret."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import logs
from infra.logs import LINE, TEXT, SelfRepetition, configure_logging, line, trace_ids
from infra.redaction import LEAST, REDACTED, SECRETS, Secrets
from infra.settings import StageSettings, load
from infra.traces.current import taking
from infra.traces.kafka import process_context
from infra.traces.span import Context, traceparent

SECRET = "one+two/three=four"


@pytest.fixture
def _logging() -> Iterator[None]:
    root, library = logging.getLogger(), logging.getLogger("aiokafka")
    handlers, level, library_level = root.handlers[:], root.level, library.level
    hooks = sys.excepthook, threading.excepthook
    library.setLevel(logging.NOTSET)  # a command that was tried in this process quiets it
    yield
    root.handlers[:], root.level = handlers, level
    library.setLevel(library_level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
def test_log_lines_are_json_ours_and_the_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line, with its service; nothing in a value can break the line."""
    configure_logging("test", "INFO")
    structlog.get_logger("ours").info("switched", epoch=3, detail='a "b"\nc')
    logging.getLogger("aiokafka").warning("lost %s", "it")
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in capsys.readouterr().out.splitlines()
    ]
    assert [(line["service"], line["event"], line["level"]) for line in lines] == [
        ("test", "switched", "info"),
        ("test", "lost it", "warning"),
    ]
    assert (lines[0]["epoch"], lines[0]["detail"]) == (3, 'a "b"\nc')


def _written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("_logging")
def test_a_secret_of_the_settings_is_in_no_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a message, a field however deep, an exception, a warning or a library's record."""
    monkeypatch.setattr(SECRETS, "_known", set())
    monkeypatch.setattr(SECRETS, "_spellings", None)
    monkeypatch.setenv("METRICS_PASSWORD", SECRET)
    load(StageSettings)
    configure_logging("test", "DEBUG")
    ours, library = structlog.get_logger(), logging.getLogger("aiokafka")
    ours.info(f"told {SECRET}", deep=[{"a": (SECRET, SECRET.encode())}], **{SECRET: 1})
    library.warning("%s at http://me:%s@host", {"sasl_plain_password": "x1"}, SECRET)
    try:
        _refuse()
    except ValueError:
        ours.exception("refused")
        library.exception("refused")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, stacklevel=1)
    library.error("two %s of %s", SECRET)
    thread = threading.Thread(target=_refuse, name=SECRET)
    thread.start()
    thread.join()
    sys.excepthook(*_caught())
    said = capsys.readouterr().out
    events = [json.loads(each)["event"] for each in said.splitlines()]
    assert SECRET not in said
    assert "two/three" not in said
    assert "x1" not in said
    assert events[0] == f"told {REDACTED}"
    assert events[-3].startswith("cannot be put into words (TypeError")
    assert events[-2:] == ["thread_crashed", "process_crashed"]
    assert len(events) == 8


def _refuse() -> None:
    raise ValueError(SECRET)


def _caught() -> tuple[type[BaseException], BaseException, Any]:
    try:
        _refuse()
    except ValueError as error:
        return type(error), error, error.__traceback__
    raise AssertionError


@pytest.mark.usefixtures("_logging")
def test_ctrl_c_is_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever ends a command by the keyboard needs no traceback."""
    configure_logging("test", "INFO")
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert _written(capsys) == []


class _Colour(StrEnum):
    RED = "red"


class _Rude:
    def __repr__(self) -> str:
        raise RuntimeError


#: What hypothesis cannot show itself, each made anew.
_ODD: dict[str, Callable[[], Any]] = {
    "its own words fail": _Rude,
    "a kind": lambda: object,
    "a member of a set of words": lambda: _Colour.RED,
    "longer than Python prints": lambda: 10**5000,
    "a list in itself": lambda: _deep,
}
_deep: list[Any] = []
_deep.append(_deep)

_SAID: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.text(st.characters()),
        st.binary(),
        st.floats(),
        st.integers(),
        st.none(),
        st.sampled_from(["\x1b[2J", "a\r\n{}\u2028\x9b"]),
        st.sampled_from(sorted(_ODD)).map(lambda name: _ODD[name]()),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters()), inner)),
    max_leaves=6,
)


@settings(max_examples=25)
@given(event=_SAID, fields=st.dictionaries(st.text(st.characters()), _SAID, max_size=3))
def test_a_line_is_one_line_of_json(event: Any, fields: dict[str, Any]) -> None:
    """Whatever the values are: printable ASCII on one line, read back by a strict reader."""
    said = line({**fields, "event": event, "level": "info"}, "test", Secrets())
    assert said.isascii()
    assert said.isprintable()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(said, parse_constant=refuse)
    assert (read["service"], read["level"]) == ("test", "info")
    assert isinstance(read["event"], str)
    said.encode()
    json.dumps(read, ensure_ascii=False).encode()  # no half of a pair


_SECRET = (
    st.text(st.characters(exclude_categories=["Cs"]), min_size=LEAST, max_size=20)
    .map(str.strip)
    .filter(lambda text: len(text) >= LEAST and "://" not in text)
)


@settings(max_examples=15)
@given(_SECRET, _SAID)
def test_a_secret_is_in_no_value(secret: str, beside: Any) -> None:
    """Wherever it stands: the event, a name, a list in a mapping, bytes, an exception."""
    secrets = Secrets()
    secrets.add(secret)
    said, hidden = f"<{secret}>", f"<{REDACTED}>"
    fields = {"a": [beside, {"b": said}], said: 1, "c": said.encode(), "d": [Exception(said)]}
    read = json.loads(line({"event": said, **fields}, "test", secrets))
    assert (read["event"], read["a"][-1]["b"], read[hidden], read["c"]) == (
        hidden,
        hidden,
        1,
        hidden,
    )
    assert hidden in read["d"][0]


def test_a_field_named_as_a_secret_is_hidden_whole() -> None:
    """Its name says enough; whether there is one may be told."""
    fields = {"password": "a b", "headers": {"Authorization": ["x"], "token": None}, "symbol": "A"}
    read = json.loads(line({"event": "e", **fields}, "test"))
    assert read["password"] == REDACTED
    assert read["headers"] == {"Authorization": REDACTED, "token": None}
    assert read["symbol"] == "A"


def test_a_line_is_bounded() -> None:
    """A text is cut; a line that is still too long keeps what it must have."""
    long = json.loads(line({"event": "e", "text": "x" * 3 * TEXT}, "test"))
    assert len(long["text"]) < TEXT
    assert long["text"].endswith(f"({3 * TEXT:,} characters)")
    said = line({"event": "e", "symbol": "A", "many": ["y" * (TEXT // 2)] * 20}, "test")
    assert len(said) < LINE
    assert (json.loads(said)["event"], json.loads(said)["symbol"]) == ("e", "A")
    assert "cut" in json.loads(said)
    deep: list[Any] = []
    deep.append(deep)
    assert line({"event": "e", "deep": deep, "many": range(10**9)}, "test")


def test_a_line_says_its_trace() -> None:
    """Where a span is under way: as OpenTelemetry writes it; where none is, nothing."""
    add = trace_ids(lambda: (0xABC, 0x12))
    assert add(None, "info", {"event": "e"}) == {
        "event": "e",
        "trace_id": "00000000000000000000000000000abc",
        "span_id": "0000000000000012",
    }
    assert trace_ids(lambda: None)(None, "info", {"event": "e"}) == {"event": "e"}


@pytest.mark.usefixtures("_logging")
def test_a_line_about_a_traced_record_says_its_span(capsys: pytest.CaptureFixture[str]) -> None:
    """The span in which the stage takes it, ours or a library's line; before and after none."""
    configure_logging("test", "INFO")
    log, schema = structlog.get_logger("ours"), ("schema", b"x/1")
    record = Taken(headers=(schema, traceparent(Context(0xABC, 0x12))))
    log.info("before")
    with taking(record, "hub"):
        log.info("within")
        logging.getLogger("aiokafka").warning("a library's")
        with taking(Taken(headers=(schema,)), "hub"):
            log.info("not traced")
    log.info("after")
    own = process_context(record, Context(0xABC, 0x12), "hub")
    of_it = (f"{0xABC:032x}", f"{own.span_id:016x}")
    assert [(each.get("trace_id"), each.get("span_id")) for each in _written(capsys)] == [
        *((None, None), of_it, of_it, (None, None), (None, None))
    ]


class Taken(NamedTuple):
    """A record that was read."""

    headers: tuple[tuple[str, bytes], ...]
    topic: str = "prices.routed"
    partition: int = 0
    offset: int = 7
    key: bytes | None = None


def test_the_span_is_opentelemetrys(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked where somebody has loaded it, and never loaded for this."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert logs.current_span() is None

    class Context:
        trace_id, span_id, is_valid = 1, 2, True

    class Span:
        @staticmethod
        def get_span_context() -> type[Context]:
            return Context

    class Trace:
        @staticmethod
        def get_current_span() -> type[Span]:
            return Span

    monkeypatch.setitem(sys.modules, "opentelemetry.trace", Trace)
    assert logs.current_span() == (1, 2)
    monkeypatch.setattr(Context, "is_valid", False)
    assert logs.current_span() is None


def _line(msg: Any, at_s: float, name: str = "aiokafka") -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "file", 1, msg, ("node",), None)
    record.created = at_s
    return record


@pytest.mark.parametrize(
    ("line", "passes"),
    [
        (_line("no %s", 10.5), False),
        (_line("no %s", 11.0), True),
        (_line("another %s", 10.5), True),
        (_line("no %s", 10.5, name="faust"), True),
        (_line({"event": "no"}, 10.5), True),
    ],
)
def test_a_library_repeats_itself_once_a_second(line: logging.LogRecord, *, passes: bool) -> None:
    """After a library's line the same line waits a second; other lines, and our own, do not."""
    repetition = SelfRepetition()
    assert repetition.filter(_line("no %s", 10.0))
    assert repetition.filter(_line({"event": "no"}, 10.0))
    assert repetition.filter(line) is passes


def test_the_memory_of_lines_is_bounded() -> None:
    """A library that makes up lines without end is forgotten in time."""
    repetition = SelfRepetition()
    for number in range(SelfRepetition.REMEMBERED * 2 + 5):
        assert repetition.filter(_line(f"line {number}", 10.0))
    assert len(repetition._said) <= SelfRepetition.REMEMBERED
