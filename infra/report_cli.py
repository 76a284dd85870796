"""What the watchers report: `twinfeed report alerts`, `report slo`, `report digest`."""

import asyncio
import getpass
import json
import smtplib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import aiohttp
import typer

from infra.promql_http import NoAnswerError, ask
from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.slo import attainment, digest, quality
from infra.stack.refusal import Refusal

ANSWER_S = 30.0
DAY_S = 86400
#: What began before a day and ended within it belongs to it.
DAYS_BACK = 30
OK = 200

_HISTORY = """
SELECT event, fingerprint, name, severity, service, summary, started_at_ns, ended_at_ns,
    incident_key, verdict, at_ns, inhibited_by
FROM alerts FINAL WHERE at >= now() - INTERVAL {days} DAY ORDER BY at
"""

app = typer.Typer(help="What the watchers report.", no_args_is_help=True)

ClickHouse = Annotated[
    str, typer.Option("--clickhouse", envvar="CLICKHOUSE_URL", help="Where ClickHouse is.")
]
Database = Annotated[str, typer.Option(envvar="CLICKHOUSE_DATABASE", help="Its database.")]
Prometheus = Annotated[
    str, typer.Option("--prometheus", envvar="PROMETHEUS_URL", help="Where Prometheus is.")
]
HISTORY = "http://127.0.0.1:19210"
CLICKHOUSE, PROMETHEUS, DATABASE = "http://127.0.0.1:18123", "http://127.0.0.1:19090", "twinfeed"


@app.command()
def alerts(
    *,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How far back.")] = 30,
    clickhouse: ClickHouse = CLICKHOUSE,
    database: Database = DATABASE,
) -> None:
    """Show how good the alerts are: actionability, precision, MTTA, MTTR, and what to tune."""
    found = quality.firings(history(clickhouse, database, days))
    typer.echo(quality.markdown(quality.report(found), days), nl=False)


@app.command()
def slo(
    *,
    span: Annotated[
        Literal["daily", "monthly"], typer.Option("--span", help="How far back trends go.")
    ] = "daily",
    daily: Annotated[bool, typer.Option("--daily", help="The same as --span daily.")] = False,
    monthly: Annotated[bool, typer.Option("--monthly", help="The same as --span monthly.")] = False,
    slack: Annotated[
        bool, typer.Option("--slack", help="Print a message of Slack's blocks, not Markdown.")
    ] = False,
    prometheus: Prometheus = PROMETHEUS,
) -> None:
    """Show what was attained, what is left of the error budgets, and what that means."""
    if daily and monthly:
        message = "--daily or --monthly, not both"
        raise typer.BadParameter(message)
    month = monthly or (span == "monthly" and not daily)
    attained = asyncio.run(levels(prometheus, month=month, at=datetime.now(UTC)))
    if slack:
        typer.echo(json.dumps(attainment.slack(*attained), indent=2))
    else:
        typer.echo(attainment.markdown(*attained), nl=False)


async def levels(
    prometheus: str, *, month: bool, at: datetime
) -> tuple[str, list[attainment.Attained], list[attainment.Kept]]:
    """Return the report of the service levels of a day or month: its title and what it says."""
    asked = attainment.queries("30d" if month else "1d")
    answers = await _ask_prometheus(prometheus, asked)
    return f"Service levels, {at:{'%Y-%m' if month else '%Y-%m-%d'}}", *attainment.attained(answers)


@app.command("digest")
def daily_digest(
    *,
    to: Annotated[str, typer.Option("--to", help="Mail it there instead of printing it.")] = "",
    sender: Annotated[str, typer.Option("--from", help="Who mails it.")] = "twinfeed@localhost",
    smtp: Annotated[
        str, typer.Option("--smtp", envvar="SMTP_SERVER", help="By which server: host:port.")
    ] = "127.0.0.1:25",
    user: Annotated[str, typer.Option("--smtp-user", help="As whom; with TLS.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--smtp-password-file", help="Where the password stands.")
    ] = None,
    clickhouse: ClickHouse = CLICKHOUSE,
    database: Database = DATABASE,
) -> None:
    """Tell of the day's low alerts, those that are over as well. To be run once a day."""
    until_ns = time.time_ns()
    rows = history(clickhouse, database, DAYS_BACK)
    text = could_wait(rows, until_ns - DAY_S * quality.NS, until_ns)
    if not to:
        typer.echo(text, nl=False)
        return
    mailed(mail_of(text, sender, to, datetime.now(UTC)), smtp, user, password_file)
    typer.echo(f"twinfeed: mailed to {to}")


def could_wait(rows: Sequence[Mapping[str, Any]], since_ns: int, until_ns: int) -> str:
    """Return the digest's words about a span of time."""
    return digest.text(digest.of_day(quality.firings(rows), since_ns, until_ns))


def mail_of(text: str, sender: str, to: str, at: datetime) -> EmailMessage:
    """Return the digest as a mail."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, to
    mail["Subject"] = f"twinfeed: what could wait, {at:%Y-%m-%d}"
    mail.set_content(text)
    return mail


@app.command()
def judge(
    fingerprint: Annotated[str, typer.Argument(help="The alert's, as the table `alerts` has it.")],
    started_at_ns: Annotated[int, typer.Argument(help="Which time: `started_at_ns` there.")],
    verdict: Annotated[
        Literal["actionable", "noise", "false"],
        typer.Argument(help="Something to do; nothing to do; nothing was wrong."),
    ],
    *,
    why: Annotated[str, typer.Option("--why", help="In words, for whoever tunes it.")],
    who: Annotated[str, typer.Option("--who", help="Who says so.")] = "",
    history: Annotated[
        str, typer.Option("--history", envvar="ALERTS_URL", help="Where the alerts' history is.")
    ] = HISTORY,
    token: Annotated[str, typer.Option(envvar="ALERTS_TOKEN", help="What it asks for.")] = "",
) -> None:
    """Say what an alert was worth; `report alerts` counts it."""
    said = {
        "fingerprint": fingerprint,
        "started_at_ns": started_at_ns,
        "verdict": verdict,
        "who": who or getpass.getuser(),
        "why": why,
    }
    asyncio.run(_tell_history(history, token, said))
    typer.echo(f"twinfeed: written down: {verdict}")


async def _tell_history(url: str, token: str, said: Mapping[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"{url.rstrip('/')}/judgements"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http,
            http.post(address, json=said, headers=headers) as answer,
        ):
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        message = f"the alerts' history at {url} does not answer: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    if answer.status != OK:
        message = f"the alerts' history at {url} refuses: {text.strip()}"
        raise Refusal(message, EX_UNAVAILABLE)


def mailed(mail: EmailMessage, smtp: str, user: str, password_file: Path | None) -> None:
    """Hand a mail to a server. Raises Refusal."""
    host, _, port = smtp.rpartition(":")
    if not host or not port.isdigit():
        message = f"--smtp: {smtp!r} is not host:port"
        raise Refusal(message, EX_CONFIG)
    try:
        with smtplib.SMTP(host, int(port), timeout=ANSWER_S) as server:
            if user and password_file:
                server.starttls()
                server.login(user, password_file.read_text(encoding="utf-8").strip())
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        message = f"the mail server at {smtp} does not take the digest: {error}"
        raise Refusal(message, EX_UNAVAILABLE) from error


def history(url: str, database: str, days: int) -> list[dict[str, Any]]:
    """Return the history of the last days, as ClickHouse has it. Raises Refusal."""
    return asyncio.run(_ask_clickhouse(url, database, days))


async def _ask_clickhouse(url: str, database: str, days: int) -> list[dict[str, Any]]:
    parts = urlsplit(url)
    headers = {}
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
        headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    query = _HISTORY.format(days=int(days))
    settings = {"database": database, "default_format": "JSONEachRow"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http,
            http.post(shown, params=settings, data=query.encode(), headers=headers) as answer,
        ):
            body = await answer.text()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        message = f"ClickHouse at {shown} does not answer: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    if answer.status != OK:
        message = f"ClickHouse at {shown} refuses: {body.strip().splitlines()[0][:300]}"
        raise Refusal(message, EX_UNAVAILABLE)
    return [json.loads(line) for line in body.splitlines()]


async def _ask_prometheus(url: str, asked: Mapping[str, str]) -> dict[str, list[Any]]:
    try:
        return await ask(url, asked, ANSWER_S)
    except NoAnswerError as error:
        raise Refusal(str(error), EX_UNAVAILABLE) from error
