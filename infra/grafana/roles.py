"""Who may do what with the dashboards, by team, and what Grafana has to be told for it. Pure.

Nobody has anything by their role in the organization alone: a folder is for the teams that it
names. Grafana's own administrators may do everything, which cannot be taken from them.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class Level(enum.IntEnum):
    """What Grafana calls a permission."""

    VIEWER = 1
    EDITOR = 2
    ADMIN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of dashboards.

    Attributes:
        uid: as it is provisioned, and the name of the directory of its files.
        boards: the dashboards in it.
        teams: what each team may do there.

    """

    uid: str
    boards: tuple[str, ...]
    teams: Mapping[str, Level]


SRE, ENGINEERS, ANALYSTS = "twinfeed-sre", "twinfeed-engineers", "twinfeed-analysts"
FOLDERS = (
    Folder(
        uid="twinfeed",
        boards=("operations", "performance", "reliability"),
        teams={SRE: Level.ADMIN, ENGINEERS: Level.EDITOR},
    ),
    Folder(
        uid="twinfeed-business",
        boards=("business",),
        teams={SRE: Level.ADMIN, ENGINEERS: Level.VIEWER, ANALYSTS: Level.EDITOR},
    ),
)
TEAMS = tuple(dict.fromkeys(team for folder in FOLDERS for team in folder.teams))


def items(folder: Folder, ids: Mapping[str, int]) -> list[dict[str, int]]:
    """Return a folder's permissions as Grafana takes them; what is not among them, it removes."""
    return [{"teamId": ids[team], "permission": int(level)} for team, level in folder.teams.items()]


def holds(folder: Folder, ids: Mapping[str, int], present: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a folder's permissions are just those that are wanted.

    What administrators have, and what comes from a folder around it, is not the folder's own.
    """
    own = [
        (each.get("teamId", 0), each.get("userId", 0), each.get("role", ""), each["permission"])
        for each in present
        if each.get("role") != "Admin" and not each.get("inherited")
    ]
    wanted = [(ids[team], 0, "", int(level)) for team, level in folder.teams.items()]
    return sorted(own) == sorted(wanted)
