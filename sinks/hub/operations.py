"""The HTTP API as a table, and the OpenAPI document that is made of it; pure."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from sinks.hub import alarms, health, levels

#: As much as is kept of a reason: one line.
WHY_LENGTH: Final = 1000

#: One line, and not blank: a line break or an escape has no place in a log.
WHY: Final = r"^ *[^\x00-\x20\x7f-\xa0\u2028\u2029][^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
Why = Annotated[str, msgspec.Meta(max_length=WHY_LENGTH, pattern=WHY, description="One line.")]


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is asked for; kept with the command, beside who asks."""

    why: Why


class FailoverWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which source to route from, and why. Yahoo is then held until it is released."""

    why: Why
    to: Literal["alpaca", "yahoo"] = "yahoo"


class ReloadWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose list of symbols to read again, and why."""

    why: Why
    source: Literal["alpaca", "yahoo", "all"] = "all"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A command is in the log, for whoever it is meant for.

    Attributes:
        outcome: `done`: the router has done so; `asked`: nothing more is known yet.
        detail: in words.

    """

    outcome: Literal["done", "asked"]
    detail: str
    command: str
    target: str
    who: str
    why: str
    at: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        method: of HTTP.
        path: where.
        name: what it is called.
        summary: one sentence.
        answer: the type of what comes back.
        status: with which status.
        wish: the type of the body, if there is one.
        open: who may: anybody, who may see prices, or who is an administrator.
        answered: whether the router says what came of it.
        lacking: whether it has nothing to tell where another service does not answer.
        unwell: whether it answers with 503, and the same body, where things are bad.

    """

    method: Literal["get", "post"]
    path: str
    name: str
    summary: str
    answer: type[msgspec.Struct]
    status: int = 200
    wish: type[msgspec.Struct] | None = None
    open: Literal["anybody", "user", "admin"] = "user"
    answered: bool = False
    unwell: bool = False
    lacking: bool = False


OPERATIONS: Final = (
    Operation(
        *("get", "/health", "health", "Whether prices come, and what is wrong."),
        health.Overall,
        open="anybody",
        unwell=True,
    ),
    Operation(
        *("get", "/api/health/alpaca", "alpaca", "The connection to Alpaca."),
        health.AlpacaHealth,
        unwell=True,
    ),
    Operation(
        *("get", "/api/health/datasource", "dataSource", "The router, and what it did."),
        health.DataSourceHealth,
        unwell=True,
    ),
    Operation(
        *("get", "/api/health/stocks", "stocks", "How many prices are live, delayed, stale."),
        health.StocksHealth,
        unwell=True,
    ),
    Operation(
        *("get", "/api/health/realtime", "realtime", "This hub: clients, rates, latency."),
        health.RealtimeHealth,
        unwell=True,
    ),
    Operation("get", "/api/symbols", "symbols", "All symbols that there are.", health.Symbols),
    Operation(
        *("get", "/api/symbols/active", "activeSymbols", "All symbols that have a price."),
        health.ActiveSymbols,
    ),
    Operation("get", "/api/alerts", "alerts", "Which alerts fire.", alarms.Alerts),
    Operation(
        *("get", "/api/slo", "serviceLevels", "What is left of the error budgets."),
        levels.Levels,
        lacking=True,
    ),
    Operation(
        *("post", "/api/health/failover", "failover", "Route from the other source, now."),
        Asked,
        status=202,
        wish=FailoverWish,
        open="admin",
        answered=True,
    ),
    Operation(
        *("post", "/api/health/hold", "hold", "Stay on Yahoo until released."),
        Asked,
        status=202,
        wish=Reason,
        open="admin",
        answered=True,
    ),
    Operation(
        *("post", "/api/health/release", "release", "Go back to Alpaca by the usual rules."),
        Asked,
        status=202,
        wish=Reason,
        open="admin",
        answered=True,
    ),
    Operation(
        *("post", "/api/health/alpaca/reconnect", "reconnect", "Open another connection."),
        Asked,
        status=202,
        wish=Reason,
        open="admin",
    ),
    Operation(
        *("post", "/api/admin/alpaca/reload-symbols", "reloadSymbols", "Read the lists again."),
        Asked,
        status=202,
        wish=ReloadWish,
        open="admin",
    ),
)

#: What may go wrong everywhere, and what only where there is a body.
_WRONG: Final = {
    "anybody": {},
    "user": {401: "no token, or not a good one"},
    "admin": {401: "no token, or not a good one", 403: "not an administrator's token"},
}
_WRONG_WISH: Final = {
    400: "not what is expected",
    413: "too long",
    415: "not JSON",
    503: "Kafka does not take the command",
}
_LACKING: Final = {503: "Prometheus does not answer"}
_REFUSED: Final = {409: "the router refuses"}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    types = {Problem} | {each.answer for each in OPERATIONS}
    types |= {each.wish for each in OPERATIONS if each.wish}
    _, schemas = msgspec.json.schema_components(
        sorted(types, key=lambda each: each.__name__), ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "twinfeed",
            "version": "1",
            "description": (
                "How the pipeline is, and what an operator may ask of it. Prices go out over "
                "SignalR at /hubs/market-data."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(each: Operation) -> dict[str, Any]:
    good = _content("application/json", each.answer)
    answers = {str(each.status): {"description": each.summary, "content": good}}
    if each.unwell:
        answers["503"] = {"description": "The same, and it is bad.", "content": good}
    if each.answered:
        answers["200"] = {"description": "It is done.", "content": good}
    wrong = {403: "a page of another origin", **_WRONG[each.open]}
    for status, sentence in {
        **wrong,
        **(_WRONG_WISH if each.wish else {}),
        **(_LACKING if each.lacking else {}),
        **(_REFUSED if each.answered else {}),
    }.items():
        content = _content("application/problem+json", Problem)
        answers[str(status)] = {"description": sentence, "content": content}
    found: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "responses": answers,
        "security": {"anybody": [], "user": [{"token": []}, {}], "admin": [{"token": []}]}[
            each.open
        ],
    }
    if each.wish:
        found["requestBody"] = {
            "required": True,
            "content": _content("application/json", each.wish),
        }
    return found


def _content(kind: str, type_: type[msgspec.Struct]) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{type_.__name__}"}}}
