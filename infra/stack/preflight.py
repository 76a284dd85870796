"""What must hold before anything is started: each check says one sentence, or nothing.

A stack that cannot run should say so in the first second, not after a minute of restarts.
"""

import errno
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from infra.settings import EX_CANTCREAT, EX_UNAVAILABLE
from infra.stack.refusal import Refusal

#: A day of simulated ticks, Kafka's segments and Prometheus's blocks fit into this.
LEAST_FREE_BYTES = 2 * 1024**3
#: Says that a directory is ours, and may be removed by `down --wipe`.
MARKER = "made-by-twinfeed"
LOCK = "stack.lock"
LOCK_SECONDS = 0.3


def check_ports(ports: Mapping[int, str], host: str) -> None:
    """Raise Refusal where a port is taken: which, for what, and how to move it."""
    for port, purpose in ports.items():
        with socket.socket() as probe:
            # as servers do: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                message = (
                    f"port {port}, for {purpose}, is taken: end what listens there, "
                    "or move all ports with --port-offset"
                )
                raise Refusal(message, EX_CANTCREAT) from error


def check_space(directory: Path, least: int = LEAST_FREE_BYTES) -> None:
    """Raise Refusal where the disk is nearly full."""
    free = shutil.disk_usage(directory).free
    if free < least:
        message = (
            f"only {free / 1024**3:.1f} GB are free on the disk of {directory}, "
            f"and the stack needs {least / 1024**3:.1f} GB: "
            "make room, or choose another place with --data"
        )
        raise Refusal(message, EX_CANTCREAT)


def claim(directory: Path) -> None:
    """Make the data directory ours. Raises Refusal where it cannot be, or is someone else's."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not is_ours(directory) and any(directory.iterdir()):
            message = (
                f"{directory} is not empty and was not made by twinfeed: "
                "choose another directory with --data"
            )
            raise Refusal(message, EX_CANTCREAT)
        (directory / MARKER).touch()
    except OSError as error:
        message = (
            f"{directory} cannot be written ({error.strerror}): "
            "choose another directory with --data"
        )
        raise Refusal(message, EX_CANTCREAT) from error


def is_ours(directory: Path) -> bool:
    """Whether twinfeed made this directory."""
    return (directory / MARKER).is_file()


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the data directory for one stack. Raises Refusal where another has it.

    The kernel lets go of the lock with the process, however that ends.
    """
    with (directory / LOCK).open("a") as lock:
        # longer than `is_running` of a passer-by holds it
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(lock):
            if time.monotonic() > deadline:
                message = (
                    f"another stack is running on {directory}: end it with `twinfeed down`, or "
                    "choose another directory with --data and other ports with --port-offset"
                )
                raise Refusal(message, EX_UNAVAILABLE)
            time.sleep(LOCK_SECONDS / 10)
        yield


def is_running(directory: Path) -> bool:
    """Whether a stack is running on this data directory."""
    if not (directory / LOCK).is_file():
        return False
    with (directory / LOCK).open("a") as lock:
        return not _locked(lock)


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_writable(directory: Path) -> None:
    """Raise Refusal where what an earlier run left cannot be written by this user."""
    for path in (directory, *directory.iterdir()):
        if not os.access(path, os.W_OK):
            message = (
                f"{path} belongs to another user and cannot be written: "
                "choose another directory with --data"
            )
            raise Refusal(message, EX_CANTCREAT)
