"""Lets a benchmark run a stage that measures nothing; Python loads it by name.

`TWINFEED_BENCHMARK_SILENT` has every meter of a stage do nothing.
"""

import os
import sys
from typing import Any

STAGES = ("ingest", "processors", "sinks")


def _stage() -> bool:
    arguments = sys.orig_argv
    return "-m" in arguments and arguments[arguments.index("-m") + 1].startswith(STAGES)


def _nothing(*_: Any, **__: Any) -> None:
    pass


if "TWINFEED_BENCHMARK_SILENT" in os.environ and _stage():
    from infra.telemetry import Meters

    for _method in ("add", "set", "observe", "observe_all", "state", "remove"):
        setattr(Meters, _method, _nothing)
