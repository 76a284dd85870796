"""Every alert that can be provoked, one after the other, on a stack of its own.

    python -m tests.journeys.drills [--compress 30] [--patience 3]

Prints the table of how long each took to fire and to be over; takes some twenty minutes.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.journeys.running import a_stack
from tests.journeys.story import twinfeed


async def main(factor: str, patience: str) -> None:
    """Run them."""
    options = ("--compress", factor, "--patience", patience, "--markdown")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with a_stack(Path(folder), "--rate", "100") as stack:
            print(await twinfeed("drill", "all", *options, "--data", str(stack.data)))  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compress", default="30", help="what the rules' times are divided by")
    parser.add_argument("--patience", default="3", help="so many times as long as expected")
    asked = parser.parse_args()
    asyncio.run(main(asked.compress, asked.patience))
