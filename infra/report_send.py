"""`twinfeed report send`: tells what is due at nine, once; with `--follow` every day.

What was told is kept in a file, each report by itself: a mail server that is away holds up the
digest alone, and whoever is started again tells nothing twice. Between a report that was taken and
its line in the file a crash can tell it a second time; none is left out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
import typer

from infra import report_cli
from infra.report_cli import CLICKHOUSE, DATABASE, PROMETHEUS, ClickHouse, Database, Prometheus
from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.slo import attainment, daily
from infra.stack.refusal import Refusal

#: How soon it is tried again where somebody did not take a report.
AGAIN_S = 60.0
#: Further back than ClickHouse's seconds reach there is no history.
MOST_DAYS = 3660


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Where what comes from, and goes to; the reports of levels to Slack, the digest by mail.

    Attributes:
        slack: Slack's incoming webhook; empty for none.
        to: whom the digest is mailed to; empty for nobody.
        sender: who mails it.
        smtp: by which server.
        user: as whom.
        password_file: with which password.
        prometheus: where Prometheus is.
        clickhouse: where ClickHouse is.
        database: its database.

    """

    slack: str
    to: str
    sender: str
    smtp: str
    user: str
    password_file: Path | None
    prometheus: str
    clickhouse: str
    database: str

    async def tell(self, due: daily.Due) -> str:
        """Tell a report; return to whom. Raises Refusal."""
        at = datetime.fromtimestamp(due.until_ns // daily.NS, daily.NEW_YORK)
        if due.kind == "digest":
            return await self._mail(due, at) if self.to else ""
        if not self.slack:
            return ""
        month = due.kind == "monthly"
        attained = await report_cli.levels(self.prometheus, month=month, at=at)
        await self._slack(attainment.slack(*attained))
        return "Slack"

    async def _mail(self, due: daily.Due, at: datetime) -> str:
        since_days = (time.time_ns() - due.since_ns) // (report_cli.DAY_S * daily.NS)
        days = min(since_days + report_cli.DAYS_BACK, MOST_DAYS)
        rows = await asyncio.to_thread(report_cli.history, self.clickhouse, self.database, days)
        text = report_cli.could_wait(rows, due.since_ns, due.until_ns)
        mail = report_cli.mail_of(text, self.sender, self.to, at)
        await asyncio.to_thread(report_cli.mailed, mail, self.smtp, self.user, self.password_file)
        return self.to

    async def _slack(self, message: dict[str, Any]) -> None:
        timeout = aiohttp.ClientTimeout(total=report_cli.ANSWER_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self.slack, json=message) as answer,
            ):
                said = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            # its words may hold the address, which is a secret
            message_ = f"Slack does not answer: {type(error).__name__}"
            raise Refusal(message_, EX_UNAVAILABLE) from error
        if answer.status != report_cli.OK:
            refused = f"Slack refuses the report: {answer.status} {said.strip()[:300]}"
            raise Refusal(refused, EX_UNAVAILABLE)


class Memory:
    """What was told, in a file.

    Args:
        file: which; it is made where it is not there.

    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def sent(self, now_ns: int) -> daily.Sent:
        """Return what was told; where nothing was yet, the first is due at the next nine."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=daily.Sent)
        except FileNotFoundError:
            sent = daily.born(now_ns)
            self.keep(sent)
            return sent
        except (msgspec.MsgspecError, OSError) as error:
            message = f"--sent: {self._file} does not say what was told: {error}"
            raise Refusal(message, EX_CONFIG) from error

    def keep(self, sent: daily.Sent) -> None:
        """Remember it; whoever is cut off leaves the file whole."""
        fresh = self._file.with_name(f"{self._file.name}.new")
        try:
            fresh.write_bytes(msgspec.json.encode(sent))
            fresh.replace(self._file)
        except OSError as error:
            message = f"--sent: {self._file} cannot be written: {error.strerror}"
            raise Refusal(message, EX_CONFIG) from error


async def tell_due(post: Post, memory: Memory, now_ns: int) -> list[Refusal]:
    """Tell all that is due, and return why some of it could not be."""
    sent, failed = memory.sent(now_ns), []
    for each in daily.due(sent, now_ns):
        try:
            to = await post.tell(each)
        except Refusal as refusal:
            failed.append(refusal)
            continue
        sent = sent.told(each)
        memory.keep(sent)
        said = f"told {to}" if to else "nobody is to be told"
        typer.echo(f"twinfeed: {each.kind} report: {said}")
    return failed


async def follow(
    post: Post,
    memory: Memory,
    now: Callable[[], int] = time.time_ns,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell what is due, every day, for ever; what could not be told, again until it is."""
    while True:
        failed = await tell_due(post, memory, now())
        for refusal in failed:
            typer.echo(f"twinfeed: {refusal}", err=True)
        # never past the next minute: a clock that is set, or sleeps, is noticed
        await sleep(min(AGAIN_S, daily.pause_s(now())))


def send(  # a command's options
    *,
    sent: Annotated[
        Path, typer.Option("--sent", envvar="REPORTS_SENT", help="Where it is kept what was told.")
    ] = Path(".twinfeed-reports.json"),
    every_day: Annotated[
        bool, typer.Option("--follow", help="Go on, every day, until it is ended.")
    ] = False,
    slack_url_file: Annotated[
        Path | None,
        typer.Option(envvar="SLACK_API_URL_FILE", help="Where the address of Slack's stands."),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", envvar="DIGEST_TO", help="Whom the digest is mailed to.")
    ] = "",
    sender: Annotated[
        str, typer.Option("--from", envvar="DIGEST_FROM", help="Who mails it.")
    ] = "twinfeed@localhost",
    smtp: Annotated[
        str, typer.Option("--smtp", envvar="SMTP_SERVER", help="By which server: host:port.")
    ] = "127.0.0.1:25",
    user: Annotated[
        str, typer.Option("--smtp-user", envvar="SMTP_USER", help="As whom; with TLS.")
    ] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--smtp-password-file", envvar="SMTP_PASSWORD_FILE", help="Where the password stands."
        ),
    ] = None,
    prometheus: Prometheus = PROMETHEUS,
    clickhouse: ClickHouse = CLICKHOUSE,
    database: Database = DATABASE,
) -> None:
    """Tell what is due at nine in New York: the levels to Slack, what could wait by mail; once."""
    post = Post(
        slack=_address(slack_url_file),
        to=to,
        sender=sender,
        smtp=smtp,
        user=user,
        password_file=password_file,
        prometheus=prometheus,
        clickhouse=clickhouse,
        database=database,
    )
    if not (post.slack or post.to):
        message = "nobody is to be told: name --slack-url-file, --to, or both"
        raise Refusal(message, EX_CONFIG)
    memory = Memory(sent)
    if every_day:
        asyncio.run(follow(post, memory))
    failed = asyncio.run(tell_due(post, memory, time.time_ns()))
    if failed:
        raise Refusal("; ".join(map(str, failed)), EX_UNAVAILABLE)


def _address(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        address = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"--slack-url-file: {file} cannot be read: {type(error).__name__}"
        raise Refusal(message, EX_CONFIG) from error
    if not address.startswith(("https://", "http://")):
        message = f"--slack-url-file: {file} holds no address"
        raise Refusal(message, EX_CONFIG)
    return address
