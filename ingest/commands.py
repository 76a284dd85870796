"""What operators ask of ingest, while it runs: follows `ops.commands` from its end on."""

import contextlib
from collections.abc import Callable

import msgspec
import structlog

from infra.commands import Command, Reconnect, ReloadSymbols
from infra.kafka.read import follow
from ingest.events import Source

_decoder = msgspec.json.Decoder(Command)
_log = structlog.get_logger()


async def obey(
    bootstrap_servers: str,
    topic: str,
    *,
    source: Source,
    reload: Callable[[], None],
    reconnect: Callable[[str], None] | None = None,
) -> None:
    """Carry out commands as they come; for ever.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        topic: the name of `ops.commands` on the broker.
        source: whose worker is to obey.
        reload: has the list of symbols read again.
        reconnect: told who asked for a reconnection, and why; None where nothing is connected.

    """
    following = follow(bootstrap_servers, topic, last=0, patient=True)
    async with contextlib.aclosing(following) as records:
        async for record in records:
            try:
                command = _decoder.decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                _log.warning("command_unreadable", offset=record.offset, error=str(error))
                continue
            if command.target not in (source, "all"):
                continue
            _log.info("command", **msgspec.to_builtins(command))
            match command:
                case Reconnect() if reconnect:
                    reconnect(f"{command.who}: {command.why}")
                case ReloadSymbols():
                    reload()
