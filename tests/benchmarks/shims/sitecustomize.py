"""Lets a benchmark run a stage that tells nothing of itself; Python loads it by name.

`TWINFEED_BENCHMARK_SILENT` has every meter of a stage do nothing, from its start.
`TWINFEED_BENCHMARK_SWITCH` lets a signal say so while it runs: after `HUSH` no meter counts, no
trace begins and nothing less than an error is logged, until `SPEAK`.
"""

import logging
import os
import signal
import sys
from typing import Any

STAGES = ("ingest", "processors", "sinks")
#: Nothing else here uses these.
HUSH, SPEAK = signal.SIGRTMIN + 5, signal.SIGRTMIN + 6


def _stage() -> bool:
    arguments = sys.orig_argv
    return "-m" in arguments and arguments[arguments.index("-m") + 1].startswith(STAGES)


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _never(*_: Any) -> bool:
    return False


def _telling() -> list[tuple[type, str, Any]]:
    """Return what a stage tells of itself by, with what does nothing in its place."""
    from infra.telemetry import Meters  # noqa: PLC0415
    from infra.traces.tracer import Tracer  # noqa: PLC0415

    meters = ("add", "set", "observe", "observe_all", "state", "remove")
    return [
        *((Meters, method, _nothing) for method in meters),
        *((Tracer, method, _never) for method in ("sample", "always")),
    ]


def _listen() -> None:
    told = [(owner, name, getattr(owner, name), mute) for owner, name, mute in _telling()]

    def hush(*_: Any) -> None:
        for owner, name, _speaks, mute in told:
            setattr(owner, name, mute)
        logging.disable(logging.WARNING)

    def speak(*_: Any) -> None:
        for owner, name, speaks, _mute in told:
            setattr(owner, name, speaks)
        logging.disable(logging.NOTSET)

    signal.signal(HUSH, hush)
    signal.signal(SPEAK, speak)


if _stage():
    if "TWINFEED_BENCHMARK_SILENT" in os.environ:
        for _owner, _method, _mute in _telling():
            setattr(_owner, _method, _mute)
    elif "TWINFEED_BENCHMARK_SWITCH" in os.environ:
        _listen()
