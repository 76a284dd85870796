"""The commands of the runbooks, typed on a running stack: they print what is printed.

A block that cannot be typed here says so, and why, where it begins: ```sh not-run="the reason".
"""

import asyncio
import os
import re
import time
from dataclasses import replace
from pathlib import Path

from infra.stack.plan import PORTS
from tests.contracts.runbooks import DIRECTORY, ROOT, Block, blocks, difference
from tests.journeys.running import Stack

#: Whatever happens, a command of a runbook has answered by then.
ANSWER_S = 60.0
#: And what it asked for has happened.
SETTLED_S = 60.0
#: What the first page exports.
ENVIRONMENT = ("PATH", "HUB", "PROM", "TOKEN")
_AT_HOME = re.compile(
    rf":({'|'.join(str(port) for ports in PORTS.values() for port, _ in ports)})\b"
)


class Desk:
    """Where an operator sits: the checkout's commands, the stack's directory, a token.

    Args:
        stack: the stack.
        folder: where commands are typed.

    """

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        #: What was typed of: pages, and the sections of them.
        self.places: set[tuple[str, str]] = set()
        #: What was read, and would be read again.
        self._fresh: set[str] = set()
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "USER": "ann",
            "PROMETHEUS_URL": f"http://127.0.0.1:{stack.port('prometheus')}",
            "CLICKHOUSE_URL": f"http://127.0.0.1:{stack.port('clickhouse')}",
        }

    async def sit_down(self) -> None:
        """Set the shell up as the first page says."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / ".twinfeed").symlink_to(self.stack.data)
        (self.folder / ".venv").symlink_to(ROOT / ".venv")
        symbols = [line for line in (ROOT / "infra/symbols.txt").read_text().splitlines() if line]
        (self.folder / "all.txt").write_text("\n".join(symbols) + "\n")
        first = next(block for block in blocks(DIRECTORY / "README.md") if block.language == "sh")
        shown = "".join(f'printf "\\f%s" "${name}"\n' for name in ENVIRONMENT)
        said, *values = (await self._run(f"{first.text}\n{shown}")).split("\f")
        assert "ready" in said
        self._env |= dict(zip(ENVIRONMENT, values, strict=True))

    async def follow(self, *pages: str, verifying: bool = False, filled: bool = False) -> None:
        """Type what stands on pages before, or from, what verifies that all is well again.

        Args:
            pages: their names.
            verifying: whether all is well again.
            filled: whether every question must find something.

        """
        for page in pages:
            for block in blocks(DIRECTORY / page):
                if block.language == "sh" and (block.section == "Verification") is verifying:
                    await self.type(block, filled=filled)

    async def section(self, page: str, name: str, *, filled: bool = False, **words: str) -> None:
        """Type what stands under one heading of a page.

        Args:
            page: the page's name.
            name: the heading.
            filled: whether every question must find something.
            words: what is written on the page -> what is typed for it, both as `NAME=value`.

        """
        found = [b for b in blocks(DIRECTORY / page) if (b.language, b.section) == ("sh", name)]
        assert found, f"{page}: nothing to type under {name}"
        for block in found:
            text = block.text
            for variable, value in words.items():
                text, times = re.subn(rf"\b{variable}=\S+", f"{variable}={value}", text)
                assert times or block is not found[0], f"{block}: no {variable}"
            await self.type(replace(block, text=text), filled=filled)

    async def type(self, block: Block, *, filled: bool = False) -> None:
        """Type a block; every command of it must succeed, and print what is printed."""
        if block.not_run:
            return
        self.places.add((block.page, block.section))
        if block.text in self._fresh:
            return
        said = await self._run(block.text)
        *_, last = block.text.strip().splitlines()
        ends = time.monotonic() + SETTLED_S
        while differs := difference(block.output, said, filled=filled):
            # what was asked for takes its seconds; who looks again does no harm
            assert last.startswith(("curl", "twinfeed sql")), f"{block}: {differs}\n{said}"
            assert time.monotonic() < ends, f"{block}: {differs}\n{said}"
            await asyncio.sleep(1)
            said = await self._run(last)
        if all(line.startswith(("curl", "twinfeed sql")) for line in block.text.splitlines()):
            self._fresh.add(block.text)

    def untyped(self, *pages: Path) -> set[tuple[str, str]]:
        """Return the sections of pages whose commands were not typed."""
        there = {
            (block.page, block.section)
            for page in pages
            for block in blocks(page)
            if block.language == "sh" and not block.not_run
        }
        return there - self.places

    def something_happens(self) -> None:
        """Say that from now on answers may be others."""
        self._fresh.clear()

    async def _run(self, text: str) -> str:
        text = _AT_HOME.sub(lambda at: f":{int(at[1]) + self.stack.offset}", text)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f"set -eo pipefail\n{text}"),
            cwd=self.folder,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(ANSWER_S):
            out, err = await process.communicate()
        assert process.returncode == 0, f"{text}\n{out.decode()}{err.decode()}"
        return out.decode()
