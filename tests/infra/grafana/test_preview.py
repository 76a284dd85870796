"""The page of the preview: what it serves, and what it says of wrong questions and dead sources."""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

from infra.grafana import render
from infra.grafana.__main__ import app
from infra.grafana.preview import HERE, PARTS, Preview
from infra.grafana.sources import Sources

NOON = 1_764_074_096


@contextlib.asynccontextmanager
async def previewing(*, alive: bool = True) -> AsyncIterator[Any]:
    """The page before a Prometheus and a ClickHouse that say the same to all."""

    async def prometheus(_: web.Request) -> web.Response:
        found = [{"metric": {"le": "1"}, "value": [1, "2"], "values": [[1, "2"]]}]
        return web.json_response({"data": {"result": found}})

    async def clickhouse(request: web.Request) -> web.Response:
        assert request.headers["X-ClickHouse-User"] == "analyst"
        if b"FINAL" in await request.read():
            return web.Response(status=500, text="Code: 62. DB::Exception: no")
        return web.json_response({"meta": [{"name": "n", "type": "UInt64"}], "data": [["3"]]})

    vendors = web.Application()
    vendors.router.add_post("/api/v1/{_}", prometheus)
    vendors.router.add_post("/", clickhouse)
    async with TestServer(vendors) as server, aiohttp.ClientSession() as http:
        where = str(server.make_url("")).rstrip("/")
        if not alive:
            await server.close()
        preview = Preview(Sources(http=http, prometheus=where, clickhouse=where), lambda: NOON)
        async with TestClient(TestServer(preview.app())) as client:
            yield client


def number(board: str, title: str) -> int:
    """Return a panel's number."""
    (model,) = (render.model(each) for each in render.BOARDS if each.name == board)
    (found,) = (panel["id"] for panel in model["panels"] if panel["title"] == title)
    return int(found)


async def test_the_page_and_its_parts() -> None:
    """Each names only parts that are served; a dashboard is the generated one."""
    async with previewing() as client:
        for board in render.BOARDS:
            page = await (await client.get(f"/{board.name}")).text()
            named = set(re.findall(r'"/page/([^"]+)"', page))
            assert named <= PARTS.keys()
            answer = await client.get(f"/boards/{board.name}")
            assert await answer.json() == render.model(board)
        for name, kind in PARTS.items():
            answer = await client.get(f"/page/{name}")
            assert (answer.status, answer.content_type) == (200, kind)
            text = (HERE / "page" / name).read_text()
            assert {f"{n}" for n in re.findall(r'from "\./(.+?)"', text)} <= PARTS.keys()
        assert str((await client.get("/")).url).endswith("/operations")


async def test_a_panel_is_told_what_the_sources_say() -> None:
    """A line, a figure of a table, and the time that both are of."""
    async with previewing() as client:
        path = f"/frames/operations/{number('operations', 'Message rate')}?from=now-5m"
        told = await (await client.get(path)).json()
        assert told["until"] - told["since"] == 300
        assert told["frames"] == [{"name": "1", "points": [[1, 2]]}]
        path = f"/frames/operations/{number('operations', 'Router state since')}"
        told = await (await client.get(path)).json()
        assert told["frames"] == [{"name": "n", "points": [[0, 3]]}]
        marks = await (await client.get("/marks/operations?from=now-1h")).json()
        assert marks == []  # what is told of 1970 is not in the chosen time


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        (
            "/nothing",
            404,
            "there is no dashboard 'nothing': expected one of operations, performance",
        ),
        ("/boards/nothing", 404, "there is no dashboard"),
        ("/frames/operations/99", 404, "there is no panel 99"),
        ("/frames/operations/1?from=today", 400, "unknown time 'today': expected now-1h"),
        ("/marks/operations?from=1h", 400, "unknown time '1h'"),
        (f"/frames/operations/{number('operations', 'Active symbols, latest')}", 502, "Code: 62"),
    ],
)
async def test_a_wrong_question_is_answered(path: str, status: int, sentence: str) -> None:
    """In a sentence."""
    async with previewing() as client:
        answer = await client.get(path)
        assert answer.status == status
        assert sentence in (await answer.json())["error"]


async def test_dead_sources_are_said_to_be_dead() -> None:
    """By their names, with where they were asked."""
    async with previewing(alive=False) as client:
        for path, name in (
            ("/frames/operations/1", "Prometheus"),
            (f"/frames/operations/{number('operations', 'Router state since')}", "ClickHouse"),
            ("/marks/business", "Prometheus"),
        ):
            answer = await client.get(path)
            assert answer.status == 502
            assert f"{name} does not answer at http://" in (await answer.json())["error"]


@pytest.mark.parametrize("option", ["--prometheus", "--clickhouse"])
def test_an_address_that_is_none_is_refused(option: str) -> None:
    """Before anything is started."""
    done = CliRunner().invoke(app, ["preview", option, "somewhere:9090"])
    assert done.exit_code == 2
    assert "expected http://host:port" in done.output
