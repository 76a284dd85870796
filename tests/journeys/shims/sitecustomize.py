"""Lets a test set the wall clock of one process, as a wrong `date` would; Python loads it by name.

`TWINFEED_TEST_CLOCKS` names a directory. A process looks there, ten times a second, for a file that
is named like what it runs (`processors.route`), and holds by how many seconds its clock is wrong.
The clock that only counts stays right, as it does under a real step.
"""

import os
import sys
import threading
import time
from pathlib import Path


def _name() -> str:
    arguments = sys.orig_argv
    if "-m" not in arguments:
        return ""
    return ".".join(arguments[arguments.index("-m") + 1 :][:2])


def _install(file: Path) -> None:
    wall_ns, wrong = time.time_ns, [0]

    def follow() -> None:
        while True:
            try:
                wrong[0] = round(float(file.read_text(encoding="utf-8")) * 1e9)
            except (OSError, ValueError):
                wrong[0] = 0
            time.sleep(0.1)

    threading.Thread(target=follow, daemon=True).start()
    time.time_ns = lambda: wall_ns() + wrong[0]
    time.time = lambda: (wall_ns() + wrong[0]) / 1e9


if "TWINFEED_TEST_CLOCKS" in os.environ and _name():
    _install(Path(os.environ["TWINFEED_TEST_CLOCKS"]) / _name())
