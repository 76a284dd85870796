"""Is Yahoo the source that is routed? The poller looks it up in the log, as everyone does."""

import contextlib
from collections.abc import Callable

import msgspec
import structlog

from infra.kafka.read import follow, read_to_end

#: The router's state in which Yahoo's prices are the ones that go out.
ACTIVE = "FALLBACK_ACTIVE"

#: Looked back at when following begins, so that nothing is missed between reading and following.
LAST = 10

_log = structlog.get_logger()


# `processors` is to the right of `ingest`: of its event only this much is known here.
class _Transition(msgspec.Struct, frozen=True):
    to_state: str


_transition = msgspec.json.Decoder(_Transition)


async def watch_route(bootstrap_servers: str, topic: str, activate: Callable[[bool], None]) -> None:
    """Pass on whether Yahoo is routed: as it is now, and whenever that changes; for ever.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        topic: the name of `router.transitions` on the broker.
        activate: told true when Yahoo becomes the source that is routed, false when it is not.

    Raises:
        KafkaError: the broker cannot be reached at the start.

    """
    known = -1
    active: bool | None = None
    async with contextlib.aclosing(read_to_end(bootstrap_servers, topic, 0, last=LAST)) as records:
        async for record in records:
            known = record.offset
            active = is_active(record.value, record.offset, before=active)
    activate(bool(active))
    async with contextlib.aclosing(follow(bootstrap_servers, topic, last=LAST)) as records:
        async for record in records:
            if record.offset <= known:
                continue
            known = record.offset
            active = is_active(record.value, record.offset, before=active)
            activate(bool(active))


def is_active(value: bytes, offset: int, *, before: bool | None) -> bool | None:
    """Return whether a transition makes Yahoo the source; `before` where it cannot be read."""
    try:
        return _transition.decode(value).to_state == ACTIVE
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("transition_unreadable", offset=offset, error=str(error))
        return before
