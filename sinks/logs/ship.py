"""Ships what one backend has not yet got: batch by batch, each until it is taken.

A backend has its own positions and its own open files. One that is slow, or away, keeps nobody
waiting but itself: the lines stay in their files, and when they are too many, the oldest are left
out and counted.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog

from infra.telemetry import Meters
from sinks.logs import positions, wire
from sinks.logs.lines import Line
from sinks.logs.positions import Checkpoint
from sinks.logs.tail import BEHIND_BYTES, Batch, Tail
from sinks.logs.wire import Later, Refused, Request, Taken, Verdict

POLL_S = 0.25
#: A backend that takes longer for a batch has not taken it.
ANSWER_S = 10.0
#: As much of an answer is read.
_ANSWER_BYTES = 4096

_log = structlog.get_logger()


class Backend(Protocol):
    """Where lines go."""

    @property
    def name(self) -> str:
        """As the metrics call it."""

    @property
    def url(self) -> str:
        """As it may be shown."""

    def request(self, lines: Sequence[Line]) -> Request:
        """Return the request that ships these lines."""

    def verdict(
        self, status: int, headers: Mapping[str, str], body: bytes, lines: int, now: datetime
    ) -> Verdict:
        """Return what an answer means for a batch of so many lines."""


class Shipper:
    """Ships a directory of output to one backend.

    Args:
        backend: where.
        directory: the files.
        kept: the file that keeps how far the backend has come.
        meters: for what is shipped and what is not.
        redact: takes out of what others print what may not be said.
        behind: what may wait of one process, in bytes.

    """

    def __init__(
        self,
        backend: Backend,
        *,
        directory: Path,
        kept: Path,
        meters: Meters,
        redact: Callable[[str], str],
        behind: int = BEHIND_BYTES,
    ) -> None:
        self._backend = backend
        self._kept = kept
        self._meters = meters
        self._tail = Tail(directory, _read(kept, backend.name), redact=redact, behind=behind)
        self._since: float | None = None
        self._not_before = 0.0
        self._failures = 0
        self._dropped = 0  # since it last had everything
        self._unreadable: dict[Path, str] = {}
        self._unkept = False

    async def run(self) -> None:
        """Ship until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._watch())
                    while True:
                        await self._step(http)
            finally:
                self._tail.close()

    async def _watch(self) -> None:
        """Notice new files also while an answer is waited for."""
        while True:
            self._scan()
            await asyncio.sleep(POLL_S)

    def _scan(self) -> None:
        if self._tail.scan():
            self._keep()
        name = self._backend.name
        if self._tail.torn:
            _log.warning("logs_may_be_missing", backend=name, services=self._tail.torn)
            self._tail.torn = []
        for path, why in self._tail.unreadable.items() - self._unreadable.items():
            _log.warning("log_file_unreadable", backend=name, file=str(path), error=why)
        self._unreadable = dict(self._tail.unreadable)

    async def _step(self, http: aiohttp.ClientSession) -> None:
        now = time.monotonic()
        left = self._tail.left
        self._meters.set("log_shipper_behind_bytes", left, backend=self._backend.name)
        self._drop()
        if not left:
            self._since = None
        elif self._since is None:
            self._since = now
        if now < self._not_before or not wire.due(left, self._since, now):
            await asyncio.sleep(POLL_S)
            return
        batch = self._tail.read(wire.BATCH_BYTES)
        self._since = None
        if batch.lines:
            await self._ship(http, batch)
        else:  # blank lines, or one that is not whole
            self._tail.commit(batch)

    async def _ship(self, http: aiohttp.ClientSession, batch: Batch) -> None:
        name, lines = self._backend.name, len(batch.lines)
        match await self._send(http, batch.lines):
            case Later(why, seconds):
                self._away(why, seconds)
                return
            case Refused(why, refused):
                self._meters.add("log_lines_dropped_total", refused, backend=name, reason="refused")
                self._say_dropped(refused, why)
                lines -= refused
            case Taken():
                pass
        self._meters.add("log_lines_shipped_total", lines, backend=name)
        self._tail.commit(batch)
        self._keep()
        if self._failures:
            _log.info("log_backend_back", backend=name, failures=self._failures)
            self._failures = 0
        if self._dropped and not self._tail.left:
            _log.info("log_backend_caught_up", backend=name, dropped=self._dropped)
            self._dropped = 0

    async def _send(self, http: aiohttp.ClientSession, lines: Sequence[Line]) -> Verdict:
        request = self._backend.request(lines)
        try:
            async with http.post(
                request.url,
                params=request.parameters,
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(_ANSWER_BYTES)
                return self._backend.verdict(
                    answer.status, answer.headers, body, len(lines), datetime.now(UTC)
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            return Later(str(error) or type(error).__name__)

    def _away(self, why: str, seconds: float | None = None) -> None:
        self._failures += 1
        self._not_before = time.monotonic() + wire.pause(self._failures, seconds)
        if self._failures == 1:  # said once
            where = self._backend
            _log.warning("log_backend_away", backend=where.name, url=where.url, error=why)

    def _drop(self) -> None:
        dropped = self._tail.drop()
        if dropped:
            self._meters.add(
                "log_lines_dropped_total", dropped, backend=self._backend.name, reason="behind"
            )
            self._say_dropped(dropped, "it is too far behind")
            self._keep()

    def _say_dropped(self, lines: int, why: str) -> None:
        if not self._dropped:  # said once
            _log.warning("log_lines_dropped", backend=self._backend.name, lines=lines, error=why)
        self._dropped += lines

    def _keep(self) -> None:
        fresh = self._kept.with_name(f"{self._kept.name}.new")
        try:
            fresh.write_bytes(positions.write(self._tail.checkpoint))
            fresh.replace(self._kept)
            self._unkept = False
        except OSError as error:  # a full disk: what is shipped is shipped
            if not self._unkept:
                _log.warning("log_positions_not_kept", file=str(fresh), error=error.strerror)
            self._unkept = True


def _read(kept: Path, backend: str) -> Checkpoint:
    try:
        text = kept.read_bytes()
    except FileNotFoundError:
        return Checkpoint()
    found = positions.read(text)
    if found is None:
        _log.warning("log_positions_unreadable", backend=backend, file=str(kept))
    return found or Checkpoint()
