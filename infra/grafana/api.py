"""Tells Grafana, over its HTTP API, which team may do what; telling it twice changes nothing."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from infra.grafana import roles

OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 401, 403, 404
ANSWER_S = 30.0


class GrafanaError(Exception):
    """Grafana refused, or is not there; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Grafana:
    """A Grafana, and who asks it.

    Attributes:
        http: what it is asked with.
        url: where it is.
        token: of a service account whose role is Admin.

    """

    http: aiohttp.ClientSession
    url: str
    token: str

    async def arrange(self) -> list[str]:
        """Make the teams and the folders' permissions what they should be; return what changed.

        Raises GrafanaError.
        """
        changed = []
        ids = {}
        for team in roles.TEAMS:
            found = await self._team(team)
            if found is None:
                found = (await self._ask("POST", "/api/teams", {"name": team}))["teamId"]
                changed.append(f"team {team} was made")
            ids[team] = int(found)
        for folder in roles.FOLDERS:
            path = f"/api/folders/{folder.uid}/permissions"
            present = await self._ask("GET", path)
            if present is None:
                message = f"there is no folder {folder.uid!r}: start Grafana with the provisioning"
                raise GrafanaError(message)
            if not roles.holds(folder, ids, present):
                await self._ask("POST", path, {"items": roles.items(folder, ids)})
                changed.append(f"folder {folder.uid} is now its teams' alone")
        return changed

    async def _team(self, name: str) -> int | None:
        answer = await self._ask("GET", "/api/teams/search", name=name)
        teams = answer["teams"] if answer else []
        return next((team["id"] for team in teams if team["name"] == name), None)

    async def _ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Return an answer; None where what was asked for is not there. Raises GrafanaError."""
        try:
            async with self.http.request(
                method,
                f"{self.url}{path}",
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {self.token}", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            ) as response:
                if response.status == OK:
                    return await response.json()
                said = (await response.text())[:300]
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"no Grafana answers at {self.url}: {error or type(error).__name__}"
            raise GrafanaError(message) from error
        if response.status == NOT_FOUND and method == "GET":
            return None
        if response.status in {UNAUTHORIZED, FORBIDDEN}:
            message = (
                f"Grafana does not let this token do it ({response.status}): expected that of a"
                " service account with the role Admin"
            )
        else:
            message = f"Grafana answers {response.status} to {method} {path}: {said}"
        raise GrafanaError(message)
