"""Run a program so that it cannot outlive the process that started it.

`python -I -S leash.py PARENT_PID PROGRAM [ARGUMENT...]` asks the kernel to kill it when its parent
dies, even by kill -9, and becomes the program. SIGKILL, because a program may ignore the others;
everything here survives it. Elsewhere than on Linux the request does not exist and is left out.

Imports nothing of this project: it starts once per process, in some 15 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EX_NOT_FOUND = 127


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            error = ctypes.get_errno()
            sys.exit(f"cannot be tied to its supervisor: {os.strerror(error)}")
        if os.getppid() != parent:
            sys.exit("its supervisor has died")  # before the request: the kernel would not tell
    try:
        os.execvp(command[0], command)  # noqa: S606  # that is what it is for
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(EX_NOT_FOUND)


if __name__ == "__main__":
    main()
