"""Which team may do what: told to a Grafana that is as strict as its documentation."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from infra.grafana.__main__ import app
from infra.grafana.api import Grafana, GrafanaError
from infra.grafana.render import BOARDS
from infra.grafana.roles import ANALYSTS, ENGINEERS, FOLDERS, SRE, TEAMS, Level
from infra.stack.refusal import Refusal

TOKEN = "glsa_of_an_admin"
#: What a folder has that was just provisioned.
FRESH = [{"role": "Viewer", "permission": 1}, {"role": "Editor", "permission": 2}]


class Strict:
    """Teams and folders' permissions, as documented; what is not, is refused."""

    def __init__(self, *, unnamed: int = 200) -> None:
        self.teams: dict[str, int] = {}
        self.folders: dict[str, list[dict[str, Any]]] = {f.uid: [*FRESH] for f in FOLDERS}
        self.writes: list[str] = []
        #: What a search for a name that nobody has is answered with: 404, by the documentation.
        self.unnamed = unnamed
        self.app = web.Application(middlewares=[self._let_in])
        self.app.router.add_get("/api/teams/search", self._search)
        self.app.router.add_post("/api/teams", self._add)
        self.app.router.add_get("/api/folders/{uid}/permissions", self._permissions)
        self.app.router.add_post("/api/folders/{uid}/permissions", self._permit)

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        shown = request.headers.get("Authorization")
        if shown != f"Bearer {TOKEN}":
            status = 403 if shown == "Bearer glsa_of_a_viewer" else 401
            return web.json_response({"message": "no"}, status=status)
        response: web.StreamResponse = await handler(request)
        return response

    async def _search(self, request: web.Request) -> web.Response:
        name = request.query["name"]
        found = [{"id": i, "orgId": 1, "name": n} for n, i in self.teams.items() if n == name]
        if not found and self.unnamed == 404:
            return web.json_response({"message": "Team not found"}, status=404)
        return web.json_response({"totalCount": len(found), "teams": found})

    async def _add(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body.keys() == {"name"}
        if body["name"] in self.teams:
            return web.json_response({"message": "Team name is taken"}, status=409)
        self.teams[body["name"]] = len(self.teams) + 7
        self.writes.append(body["name"])
        return web.json_response({"message": "Team created", "teamId": self.teams[body["name"]]})

    async def _permissions(self, request: web.Request) -> web.Response:
        uid = request.match_info["uid"]
        if uid not in self.folders:
            return web.json_response({"message": "folder not found"}, status=404)
        admins = {"role": "Admin", "permission": 4, "teamId": 0, "userId": 0}
        return web.json_response([admins, *self.folders[uid]])

    async def _permit(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body.keys() == {"items"}
        for item in body["items"]:
            assert item.keys() == {"teamId", "permission"}
            assert item["teamId"] in self.teams.values()
            assert item["permission"] in {1, 2, 4}
        uid = request.match_info["uid"]
        self.folders[uid] = [{"role": "", "userId": 0, **item} for item in body["items"]]
        self.writes.append(uid)
        return web.json_response({"message": "Folder permissions updated"})

    def may(self) -> dict[str, dict[str, int]]:
        """Return what each team may do in each folder."""
        names = {number: name for name, number in self.teams.items()}
        return {
            uid: {names[item["teamId"]]: item["permission"] for item in items}
            for uid, items in self.folders.items()
        }


@contextlib.asynccontextmanager
async def asking(strict: Strict, token: str = TOKEN) -> AsyncIterator[Grafana]:
    """Somebody who asks this Grafana."""
    async with TestServer(strict.app) as server, aiohttp.ClientSession() as http:
        yield Grafana(http, str(server.make_url("")).rstrip("/"), token)


@pytest.mark.parametrize("unnamed", [200, 404])
async def test_told_once_it_is_so_and_told_twice_nothing_changes(unnamed: int) -> None:
    """Roles of the organization lose what they had; every team has its level."""
    strict = Strict(unnamed=unnamed)
    async with asking(strict) as grafana:
        changed = await grafana.arrange()
        assert strict.may() == {f.uid: {t: int(n) for t, n in f.teams.items()} for f in FOLDERS}
        assert len(changed) == len(strict.writes) == len(TEAMS) + len(FOLDERS)
        assert await grafana.arrange() == []
        assert len(strict.writes) == len(TEAMS) + len(FOLDERS)


async def test_what_somebody_changed_by_hand_is_mended() -> None:
    """One more team, another level, or a user: only that folder is told again."""
    strict = Strict()
    async with asking(strict) as grafana:
        await grafana.arrange()
        right = strict.may()
        (first, *_), own = FOLDERS, strict.folders[FOLDERS[0].uid]
        for wrong in (
            [*own, {"userId": 3, "teamId": 0, "role": "", "permission": 1}],
            own[1:],
            [{**own[0], "permission": 1}, *own[1:]],
        ):
            strict.folders[first.uid] = wrong
            assert await grafana.arrange() == [f"folder {first.uid} is now its teams' alone"]
            assert strict.may() == right


@pytest.mark.parametrize(
    ("token", "sentence"), [("glsa_of_a_viewer", "403"), ("glsa_of_nobody", "401")]
)
async def test_who_may_not_is_told_who_may(token: str, sentence: str) -> None:
    """And the token is not in the message."""
    async with asking(Strict(), token) as grafana:
        with pytest.raises(GrafanaError, match=f"{sentence}.*: expected that of a") as told:
            await grafana.arrange()
        assert token not in str(told.value)


async def test_a_folder_that_is_not_there_is_named() -> None:
    """It comes with the provisioning; and so is a Grafana that is not there."""
    strict = Strict()
    del strict.folders["twinfeed-business"]
    async with asking(strict) as grafana:
        with pytest.raises(GrafanaError, match="there is no folder 'twinfeed-business'"):
            await grafana.arrange()
    async with aiohttp.ClientSession() as http:
        with pytest.raises(GrafanaError, match="no Grafana answers at http://127"):
            await Grafana(http, "http://127.0.0.1:1", TOKEN).arrange()


def test_each_dashboard_is_in_one_folder_and_each_folder_has_an_administrator() -> None:
    """Viewer, editor, administrator: each level is somebody's."""
    assert sorted(b for f in FOLDERS for b in f.boards) == sorted(board.name for board in BOARDS)
    assert all(folder.teams[SRE] is Level.ADMIN for folder in FOLDERS)
    assert {level for folder in FOLDERS for level in folder.teams.values()} == set(Level)
    assert {SRE, ENGINEERS, ANALYSTS} == set(TEAMS)


def test_the_command_wants_its_token_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the environment or a file; a wrong address and a missing file are named."""
    for name in ("GRAFANA_TOKEN", "GRAFANA_TOKEN_FILE", "GRAFANA_URL"):
        monkeypatch.delenv(name, raising=False)
    told = CliRunner().invoke(app, ["roles"]).exception
    assert isinstance(told, Refusal)
    assert "expected it in GRAFANA_TOKEN" in str(told)
    monkeypatch.setenv("GRAFANA_TOKEN_FILE", str(tmp_path / "none"))
    told = CliRunner().invoke(app, ["roles"]).exception
    assert "cannot be read: No such file" in str(told)
    (tmp_path / "none").write_text(f"{TOKEN}\n")
    told = CliRunner().invoke(app, ["roles", "--url", "http://127.0.0.1:1"]).exception
    assert "no Grafana answers" in str(told)
    done = CliRunner().invoke(app, ["roles", "--url", "127.0.0.1:3000"])
    assert (done.exit_code, "expected http://host:port" in done.output) == (2, True)
