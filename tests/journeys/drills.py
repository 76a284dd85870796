"""Every alert that can be provoked, one after the other, on a stack of its own.

    python -m tests.journeys.drills [--compress 30] [--patience 3] [ALERT ...]

Prints what happens while it happens, and last the table of how long each took to fire and to be
over; all of them take some twenty minutes. Leaves as `twinfeed drill` does.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.journeys.running import a_stack


async def main(alerts: Sequence[str], factor: str, patience: str) -> int:
    """Run them; return the exit code."""
    options = ("--compress", factor, "--patience", patience, "--markdown")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with a_stack(Path(folder), "--rate", "100") as stack:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "infra.cli", "drill"),
                *(*alerts, *options, "--data", str(stack.data)),
            )
            return await process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compress", default="30", help="what the rules' times are divided by")
    parser.add_argument("--patience", default="3", help="so many times as long as expected")
    parser.add_argument("alerts", nargs="*", default=["all"], help="their names or ids")
    asked = parser.parse_args()
    sys.exit(asyncio.run(main(asked.alerts, asked.compress, asked.patience)))
