"""The engine in a process of its own, for tests: one directory a process, and no fork after it.

`python -m tests.sinks.clickhouse.engine_process DIRECTORY` serves the engine's HTTP face, and
stores on the engine by a multiprocessing manager; it writes `<http port> <manager port>` and ends
when its stdin does.
"""

import asyncio
import sys
import threading
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import cast

from sinks.clickhouse.connect import ClickHouseStore
from sinks.clickhouse.engine import Directory, Engine
from sinks.clickhouse.face import Face

AUTHKEY = b"tests"


class Manager(BaseManager):
    """Serves stores; the client's side registers the same name without a maker."""


async def _main(path: Path) -> None:
    directory = Directory(path)
    directory.enter()
    engine = Engine(directory, "system")
    face = Face(engine, host="127.0.0.1", port=0)
    Manager.register(
        "store",
        callable=lambda database: ClickHouseStore.on_engine(str(directory.data), database),
    )
    server = Manager(("127.0.0.1", 0), AUTHKEY).get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = cast("tuple[str, int]", server.address)[1]
    sys.stdout.write(f"{await face.start()} {port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await face.stop()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
