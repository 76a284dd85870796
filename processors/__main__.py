"""`python -m processors validate|route|forward`: one stage, one process."""

import asyncio
import gc
import sys

from infra.logs import configure_logging
from infra.settings import EX_USAGE, load
from infra.traces.settings import TraceSettings
from processors.app import STAGES
from processors.settings import ProcessorSettings

#: How many containers may be made before the collector looks at the young ones; Python's is 700.
COLLECT_AFTER = 50_000


def main(arguments: list[str]) -> int:
    """Run the stage that is named, and return the exit code."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        named = " ".join(arguments) or "none"
        print(f"which stage? expected one of {', '.join(STAGES)}: {named}", file=sys.stderr)  # noqa: T201
        return EX_USAGE
    (name,) = arguments
    settings, traces = load(ProcessorSettings), load(TraceSettings)
    configure_logging(name, settings.log_level)

    # What was loaded stays, and what flows holds no cycles: walking it all the time gains nothing.
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)

    async def run() -> int:
        # Faust and the producer belong to the loop that is running
        return await STAGES[name](settings, traces).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
