"""Is Yahoo the source that is routed? The poller looks it up in the log, as everyone does."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog

from infra.fence import Story
from infra.kafka.read import follow, read_to_end

#: The router's state in which Yahoo's prices are the ones that go out.
ACTIVE = "FALLBACK_ACTIVE"

#: Looked back at when following begins, so that nothing is missed between reading and following.
LAST = 10

_log = structlog.get_logger()


# `processors` is to the right of `ingest`: of its event only this much is known here.
class _Transition(msgspec.Struct, frozen=True):
    epoch: int
    to_state: str
    generation: int = 0


_transition = msgspec.json.Decoder(_Transition)


class Seen(NamedTuple):
    """What the log has told so far: how its story stands, and whether Yahoo is routed."""

    story: Story = Story()
    active: bool = False


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
    seen = Seen()
    async with contextlib.aclosing(read_to_end(bootstrap_servers, topic, 0)) as records:
        async for record in records:
            known = record.offset
            seen = after(seen, record.value, record.offset)
    activate(seen.active)
    async with contextlib.aclosing(follow(bootstrap_servers, topic, last=LAST)) as records:
        async for record in records:
            if record.offset <= known:
                continue
            known = record.offset
            seen = after(seen, record.value, record.offset)
            activate(seen.active)


def after(seen: Seen, value: bytes, offset: int) -> Seen:
    """Return what is known after one more record; one that is unreadable or late changes nothing.

    Late is what a former router wrote when it had a successor: see `infra.fence`.
    """
    try:
        transition = _transition.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("transition_unreadable", offset=offset, error=str(error))
        return seen
    if not seen.story.accepts(transition):
        _log.warning("transition_too_late", offset=offset, **msgspec.to_builtins(transition))
        return seen
    return Seen(seen.story.after(transition), transition.to_state == ACTIVE)
