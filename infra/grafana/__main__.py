"""What is done about Grafana by hand.

python -m infra.grafana preview    draw the dashboards against a running stack, without a Grafana
python -m infra.grafana roles      tell a Grafana which team may do what
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from aiohttp import web

from infra.grafana.api import Grafana, GrafanaError
from infra.grafana.preview import HOST, Preview
from infra.grafana.sources import Sources
from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.sql_http import Address
from infra.stack.refusal import Refusal

app = typer.Typer(help="What is done about Grafana by hand.", no_args_is_help=True)


@app.command()
def preview(
    *,
    prometheus: Annotated[
        str, typer.Option(envvar="PROMETHEUS_URL", help="Where Prometheus is.")
    ] = "http://127.0.0.1:19090",
    clickhouse: Annotated[
        str, typer.Option(envvar="CLICKHOUSE_URL", help="Where ClickHouse is, and as whom to ask.")
    ] = "http://analyst@127.0.0.1:18123",
    database: Annotated[
        str, typer.Option(envvar="CLICKHOUSE_DATABASE", help="Its database.")
    ] = "twinfeed",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.")] = 19300,
) -> None:
    """Draw the generated dashboards against a running stack, on loopback."""
    _check("--prometheus", prometheus)
    _check("--clickhouse", clickhouse)
    address = Address.of(clickhouse, database)
    try:
        asyncio.run(_serve(prometheus.rstrip("/"), address, port))
    except OSError as error:
        message = f"port {port} cannot be listened at: {error.strerror}"
        raise Refusal(message, EX_UNAVAILABLE) from error


@app.command()
def roles(
    *,
    url: Annotated[
        str, typer.Option(envvar="GRAFANA_URL", help="Where Grafana is.")
    ] = "http://127.0.0.1:3000",
) -> None:
    """Tell Grafana which team may do what; GRAFANA_TOKEN, or GRAFANA_TOKEN_FILE, lets us in."""
    _check("--url", url)
    try:
        changed = asyncio.run(_arrange(url.rstrip("/"), _token()))
    except GrafanaError as error:
        raise Refusal(str(error), EX_UNAVAILABLE) from error
    for sentence in changed or ["every team may do what it should"]:
        typer.echo(f"twinfeed: {sentence}")


def _token() -> str:
    """Return the token. Raises Refusal; it never stands on a command line."""
    if found := os.environ.get("GRAFANA_TOKEN", "").strip():
        return found
    if file := os.environ.get("GRAFANA_TOKEN_FILE"):
        try:
            found = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            message = f"GRAFANA_TOKEN_FILE: {file} cannot be read: {error.strerror}"
            raise Refusal(message, EX_CONFIG) from error
    if not found:
        message = "no token: expected it in GRAFANA_TOKEN, or in the file GRAFANA_TOKEN_FILE names"
        raise Refusal(message, EX_CONFIG)
    return found


async def _arrange(url: str, token: str) -> list[str]:
    async with aiohttp.ClientSession() as http:
        return await Grafana(http, url, token).arrange()


def _check(option: str, url: str) -> None:
    if not url.startswith(("http://", "https://")):
        message = f"{url!r}: expected http://host:port"
        raise typer.BadParameter(message, param_hint=option)


async def _serve(prometheus: str, clickhouse: Address, port: int) -> None:
    async with aiohttp.ClientSession() as http:
        sources = Sources(
            http=http,
            prometheus=prometheus,
            clickhouse=clickhouse.url,
            database=clickhouse.database,
            analyst=(clickhouse.user, clickhouse.password),
        )
        runner = web.AppRunner(Preview(sources).app(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            where = f"http://{HOST}:{runner.addresses[0][1]}/"
            typer.echo(f"twinfeed: the dashboards are at {where}; Ctrl-C ends it")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def main() -> None:
    """Run the command, and leave with its exit code."""
    try:
        app()
    except Refusal as refusal:
        typer.echo(f"twinfeed: {refusal}", err=True)
        sys.exit(refusal.exit_code)


if __name__ == "__main__":
    main()
