"""`twinfeed sim`: what can go wrong at the simulated vendors, switched on and off while they run.

It speaks HTTP to a simulator's control interface, which it finds on the board of the stack that
runs on `--data`, or at `--url`. What a fault is called and which parameters it has is the
simulator's to say: a wrong name or parameter is answered by it, and leaves with 2.
"""

import enum
import json
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import typer
from rich.console import Console
from rich.table import Table

from infra.settings import EX_SOFTWARE, EX_UNAVAILABLE
from infra.stack import board as boards
from infra.stack import preflight
from infra.stack.plan import CONTROL
from infra.stack.refusal import Refusal

DEFAULT_DATA = Path(".twinfeed")
#: A simulator on this machine answers at once, or is not well.
ANSWER_SECONDS = 10.0

app = typer.Typer(help="The simulated vendors: faults and keys.", no_args_is_help=True)
key = typer.Typer(help="The keys that the simulated Alpaca lets in.", no_args_is_help=True)
app.add_typer(key, name="key")


class Vendor(enum.StrEnum):
    """Whose simulator."""

    ALPACA = "alpaca"
    YAHOO = "yahoo"


Data = Annotated[Path, typer.Option("--data", help="The data directory of the running stack.")]
Url = Annotated[
    str | None, typer.Option("--url", help="The simulator's control interface, instead of --data.")
]
KeyId = Annotated[str, typer.Argument(help="The key's id.")]
Secret = Annotated[str, typer.Argument(help="Its secret; - to read it from the standard input.")]


@app.command()
def faults(
    vendor: Annotated[Vendor | None, typer.Argument(help="Whose; by default both.")] = None,
    *,
    data: Data = DEFAULT_DATA,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """List what can go wrong, and what is on."""
    if url and vendor is None:
        message = "whose simulator is at that --url? expected alpaca or yahoo"
        raise typer.BadParameter(message, param_hint="VENDOR")
    found = {
        name.value: ask(base(name, data, url), "GET", "/faults")["faults"]
        for name in ([vendor] if vendor else Vendor)
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console = Console()
    for name, its in found.items():
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in (name, "parameters", "what it does"):
            table.add_column(column, overflow="fold")
        for fault in its:
            options = [
                option for option in fault["parameters"] if option not in {"seconds", "count"}
            ]
            table.add_row(fault["name"], ", ".join(options), _told(fault))
        console.print(table)


def _told(fault: dict[str, Any]) -> str:
    """Say in a line what a fault does, and whether it is."""
    on = fault["on"]
    if not on:
        return str(fault["sentence"])
    given = {name: value for name, value in on["parameters"].items() if value not in (None, [])}
    return f"{fault['sentence']}\nON since {on['began_at']}, {on['uses']} times, with {given}"


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def fault(
    context: typer.Context,
    vendor: Vendor,
    name: Annotated[str, typer.Argument(help="Which; `twinfeed sim faults` lists them.")],
    *,
    symbols: Annotated[
        str | None, typer.Option(help="Of these symbols, with commas between them.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", help="It ends by itself after so many seconds.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="It happens so many times.")] = None,
    data: Data = DEFAULT_DATA,
    url: Url = None,
) -> None:
    """Switch a fault on; further options, such as --held 30, are parameters of its own."""
    asked = {
        **_parameters(context.args),
        **({} if symbols is None else {"symbols": [s for s in symbols.split(",") if s]}),
        **({} if seconds is None else {"seconds": seconds}),
        **({} if count is None else {"count": count}),
    }
    lines = ask(base(vendor, data, url), "PUT", f"/faults/{quote(name, safe='')}", asked)
    for line in lines:
        typer.echo(f"twinfeed: {vendor} {_event(line)}")


@app.command()
def clear(
    vendor: Vendor,
    name: Annotated[str | None, typer.Argument(help="Which; by default all.")] = None,
    *,
    data: Data = DEFAULT_DATA,
    url: Url = None,
) -> None:
    """Switch a fault off, or all of a vendor's."""
    path = "/faults" if name is None else f"/faults/{quote(name, safe='')}"
    lines = ask(base(vendor, data, url), "DELETE", path)
    for line in lines:
        typer.echo(f"twinfeed: {vendor} {_event(line)}")
    if not lines:
        typer.echo(f"twinfeed: {name or 'nothing'} was {'not ' if name else ''}on")


def _event(line: dict[str, Any]) -> str:
    """Say what a line of the ledger says."""
    if line["line"] == "fault_begun":
        given = {n: value for n, value in line["parameters"].items() if value not in (None, [])}
        return f"{line['name']} began, with {given}" if given else f"{line['name']} began"
    return f"{line['name']} ended ({line['reason']}), after {line['uses']} times"


@key.command("list")
def list_keys(*, data: Data = DEFAULT_DATA, url: Url = None) -> None:
    """List the ids of the keys that are let in."""
    _say_keys(ask(base(Vendor.ALPACA, data, url), "GET", "/keys"))


@key.command("add")
def add_key(key_id: KeyId, secret: Secret, *, data: Data = DEFAULT_DATA, url: Url = None) -> None:
    """Let in one more key, or change its secret."""
    path = f"/keys/{quote(key_id, safe='')}"
    _say_keys(ask(base(Vendor.ALPACA, data, url), "PUT", path, {"secret": _secret(secret)}))


@key.command("remove")
def remove_key(key_id: KeyId, *, data: Data = DEFAULT_DATA, url: Url = None) -> None:
    """Let a key in no longer; who is in stays in."""
    path = f"/keys/{quote(key_id, safe='')}"
    _say_keys(ask(base(Vendor.ALPACA, data, url), "DELETE", path))


@key.command("rotate")
def rotate_key(
    key_id: KeyId, secret: Secret, *, data: Data = DEFAULT_DATA, url: Url = None
) -> None:
    """Let in this key from now on, and no other."""
    pairs = {key_id: _secret(secret)}
    _say_keys(ask(base(Vendor.ALPACA, data, url), "PUT", "/keys", pairs))


def _secret(given: str) -> str:
    return sys.stdin.readline().strip() if given == "-" else given


def _say_keys(body: dict[str, list[str]]) -> None:
    typer.echo(f"twinfeed: let in: {', '.join(body['keys']) or 'nobody'}")


def _parameters(arguments: list[str]) -> dict[str, Any]:
    """Read `--name value`, `--name=value` and `--name`, which is true.

    A value is JSON where it can be, or text.
    """
    parameters: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        if not option.startswith("--"):
            message = f"unexpected {option!r}: parameters are --name value"
            raise typer.BadParameter(message)
        name, given, value = option.removeprefix("--").partition("=")
        if not given:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        try:
            parameters[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            parameters[name.replace("-", "_")] = value
    return parameters


def base(vendor: Vendor, data: Path, url: str | None) -> str:
    """Return where a vendor's control interface is. Raises Refusal."""
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            message = f"{url!r}: expected http://host:port"
            raise typer.BadParameter(message, param_hint="--url")
        return f"{parts.scheme}://{parts.netloc}"
    data = data.absolute()
    board = boards.read(data) if preflight.is_running(data) else None
    if board is None:
        message = f"no stack is running on {data}: name another --data, or a simulator's --url"
        raise Refusal(message, EX_UNAVAILABLE)
    (name,) = (name for name, process, _ in CONTROL if process == f"{vendor}-simulator")
    for address in board.addresses:
        if address.name == name:
            return address.where.removesuffix("/faults")
    message = f"the stack on {data} reads the real markets: {vendor} is not simulated there"
    raise Refusal(message, EX_UNAVAILABLE)


def ask(where: str, method: str, path: str, body: object = None) -> Any:
    """Ask a control interface. Raises Refusal, and BadParameter in the simulator's words."""
    request = Request(  # noqa: S310  # `base` lets http through alone
        where + path, method=method, data=None if body is None else json.dumps(body).encode()
    )
    try:
        with urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310  # likewise
            return json.loads(response.read())
    except HTTPError as error:
        message = _message(error)
        if error.code in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            raise typer.BadParameter(message) from error
        sentence = f"the simulator at {where} answers {error.code}: {message}"
        raise Refusal(sentence, EX_SOFTWARE) from error
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        message = f"no simulator answers at {where}: {getattr(reason, 'strerror', None) or reason}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    except ValueError as error:
        message = f"what answers at {where} is no simulator: {error}"
        raise Refusal(message, EX_UNAVAILABLE) from error


def _message(error: HTTPError) -> str:
    """Return the sentence of a refusal, or its body where that is something else."""
    body = error.read().decode(errors="replace").strip()
    try:
        return str(json.loads(body)["message"])
    except (ValueError, TypeError, KeyError):
        return body or str(error.reason)
