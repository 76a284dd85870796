r"""What a process says: JSON objects, one a line, ours and the libraries' by the same chain.

Every line has `timestamp`, `level`, `service` and `event`; besides, what the event is about, the
`session` and the `symbol` where there is one, and the trace that it belongs to. Whatever a vendor
or a client may have put into a value, a line is one line of ASCII, without control characters: all
else is written as `\u....`. Secrets are taken out as `infra/redaction.py` says, by whoever writes
the line, so that they are in no pipe and in no file.
"""

import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog

from infra.redaction import REDACTED, SECRETS, Secrets, is_sensitive
from infra.traces.current import current

#: A text in a line has at most so many characters, a collection so many members, at such a depth.
TEXT: Final = 16 * 1024
MEMBERS: Final = 1000
DEPTH: Final = 8
#: A line that would be longer keeps what it must have; Loki's own limit is 256 KB.
LINE: Final = 128 * 1024
_ALWAYS: Final = ("timestamp", "level", "service", "event", "session", "symbol", "trace_id")

_INTEGERS = range(-(2**63), 2**64)  # what all readers of JSON understand

#: The trace and the span that are under way, as numbers; None where there are none.
CurrentSpan = Callable[[], tuple[int, int] | None]
_log = structlog.get_logger()


def plain(value: Any, secrets: Secrets = SECRETS, depth: int = DEPTH) -> Any:
    """Return a value as JSON can say it, bounded and without secrets."""
    said: Any
    match value:
        case None | bool():
            said = value
        case str():
            said = _text(str.__str__(value), secrets)
        case int():
            # a longer one would be refused, by Python itself in the end
            said = int(value) if value in _INTEGERS else f"{value:#x}"[:TEXT]
        case float():
            said = float(value) if math.isfinite(value) else str(float(value))
        case bytes() | bytearray():
            said = _text(value[: 2 * TEXT].decode(errors="backslashreplace"), secrets)
        case Mapping() if depth:
            said = _mapping(value, secrets, depth)
        case list() | tuple() | set() | frozenset() if depth:
            said = [plain(member, secrets, depth - 1) for member in list(value)[:MEMBERS]]
        case _:
            said = _text(_repr(value), secrets)
    return said


def _text(text: str, secrets: Secrets) -> str:
    redacted = secrets.redact(text[: 2 * TEXT])
    if len(text) > TEXT:
        redacted = f"{redacted[: TEXT // 2]}... ({len(text):,} characters)"
    # half a pair of UTF-16 is no text to most readers
    return redacted.encode("utf-8", "backslashreplace").decode()


def _mapping(value: Mapping[Any, Any], secrets: Secrets, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, member in list(value.items())[:MEMBERS]:
        said = name if isinstance(name, str) else _repr(name)
        hide = is_sensitive(said) and not isinstance(member, bool | None)
        found[_text(said, secrets)] = REDACTED if hide else plain(member, secrets, depth - 1)
    return found


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # anybody's `__repr__` may do anything
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def line(event: Mapping[str, Any], service: str, secrets: Secrets = SECRETS) -> str:
    """Return an event as it is written: one line of JSON."""
    said = {**{name: event.get(name) for name in _ALWAYS[:4]}, **event, "service": service}
    said["event"] = said["event"] if isinstance(said["event"], str) else _repr(said["event"])
    written = json.dumps(plain(said, secrets))
    if len(written) > LINE:
        kept: dict[str, str] = {
            name: str(said[name])[: TEXT // 4] for name in _ALWAYS if name in said
        }
        kept["cut"] = f"the line had {len(written):,} characters"
        written = json.dumps(plain(kept, secrets))
    return written


def current_span() -> tuple[int, int] | None:
    """Return the span that is under way: ours, or that of who has loaded OpenTelemetry."""
    if (ours := current()) is not None:
        return ours
    trace = sys.modules.get("opentelemetry.trace")
    context = trace.get_current_span().get_span_context() if trace else None
    return (context.trace_id, context.span_id) if context and context.is_valid else None


def trace_ids(current: CurrentSpan) -> structlog.typing.Processor:
    """Return the processor that says which trace and span an event belongs to."""

    def add(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        span = current()
        if span is not None:
            event["trace_id"], event["span_id"] = f"{span[0]:032x}", f"{span[1]:016x}"
        return event

    return add


class SelfRepetition(logging.Filter):
    """Lets a library say the same thing once a second, and our own lines always.

    While a broker is away aiokafka says so thousands of times a second.
    """

    INTERVAL_S = 1.0
    REMEMBERED = 1000

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether `record` may pass."""
        if isinstance(record.msg, dict):  # structlog's, which is how we log
            return True
        key = (record.name, str(record.msg))
        if record.created - self._said.get(key, float("-inf")) < self.INTERVAL_S:
            return False
        if len(self._said) >= self.REMEMBERED:
            self._said.clear()
        self._said[key] = record.created
        return True


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Says so, in a line of its own, where a library's record cannot be put into words."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001  # its arguments may be anything
            record.msg = f"cannot be put into words ({_repr(error)}): {_repr(record.msg)}"
            record.args = ()
            return super().format(record)


def configure_logging(service: str, level: str, stream: TextIO | None = None) -> None:
    """Log JSON lines to stdout, or to `stream`, and what nobody catches as well."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        trace_ids(current_span),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.addFilter(SelfRepetition())
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                lambda _logger, _method, event: line(event, service),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _process_crashed
    threading.excepthook = _thread_crashed


def _process_crashed(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _log.critical("process_crashed", exc_info=(kind, error, trace))


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    name = crash.thread.name if crash.thread else ""
    if crash.exc_value is not None and crash.exc_type is not SystemExit:
        found = (crash.exc_type, crash.exc_value, crash.exc_traceback)
        _log.critical("thread_crashed", thread=name, exc_info=found)
