"""The reports at nine: when they are due, that they are told once, and to whom."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from infra import report_cli
from infra.cli import app
from infra.report_send import Memory, Post, follow, tell_due
from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.slo import attainment, daily
from infra.slo.daily import KINDS, NEW_YORK, NS, SETTLED_NS, Sent
from infra.stack.refusal import Refusal
from tests.infra.alertmanager.receivers import SLACK_PATH, Receivers
from tests.infra.slo.mails import Mails

HOUR = 3600 * NS
DAY = 24 * HOUR


def _ny(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * NS


@pytest.mark.parametrize(
    ("kind", "now", "expected"),
    [
        ("daily", "2026-11-25 09:00:59", "2026-11-24 09:00"),  # the history is not settled
        ("daily", "2026-11-25 09:01:00", "2026-11-25 09:00"),
        ("digest", "2026-11-25 08:59:00", "2026-11-24 09:00"),
        ("daily", "2026-11-26 00:30:00", "2026-11-25 09:00"),
        # the clocks are put back in the night before the second, and forth before the third
        ("daily", "2026-11-01 09:01:00", "2026-11-01 09:00"),
        ("daily", "2027-03-14 09:01:00", "2027-03-14 09:00"),
        ("monthly", "2026-11-25 09:01:00", "2026-11-01 09:00"),
        ("monthly", "2026-12-01 09:00:00", "2026-11-01 09:00"),
        ("monthly", "2026-12-01 09:01:00", "2026-12-01 09:00"),
    ],
)
def test_nine_is_nine_in_new_york(kind: daily.Kind, now: str, expected: str) -> None:
    """In winter and in summer; of a month that of its first day."""
    assert daily.nine(kind, _ny(now)) == _ny(expected)


@settings(max_examples=60)
@given(
    st.integers(_ny("2026-10-01 00:00"), _ny("2027-05-01 00:00")),
    st.lists(st.integers(1, 3 * DAY), min_size=1, max_size=12),
)
def test_each_report_is_told_once_and_the_digest_of_all_time(
    start_ns: int, steps: list[int]
) -> None:
    """Whenever it is looked, whoever was away how long: spans join, and none is told twice."""
    now_ns, sent = start_ns, daily.born(start_ns)
    spans: list[daily.Due] = []
    for step in steps:
        now_ns += step
        found = daily.due(sent, now_ns)
        for each in found:
            sent = sent.told(each)
        assert daily.due(sent, now_ns) == []
        assert 0 < daily.pause_s(now_ns) <= 25 * 3600
        assert daily.due(sent, now_ns + int(daily.pause_s(now_ns) * NS) + NS)
        spans += [each for each in found if each.kind == "digest"]
    assert all(a.until_ns == b.since_ns for a, b in itertools.pairwise(spans))
    if spans:
        assert spans[0].since_ns == daily.nine("digest", start_ns)
        assert spans[-1].until_ns == daily.nine("digest", now_ns) <= now_ns - SETTLED_NS


def _row(name: str, event: str, at_ns: int, ended_at_ns: int | None = None) -> dict[str, Any]:
    return {
        **dict.fromkeys(("incident_key", "verdict"), ""),
        "inhibited_by": [],
        "event": event,
        "fingerprint": name,
        "name": name,
        "severity": "low",
        "service": "ingest",
        "summary": "again and again",
        "started_at_ns": at_ns,
        "ended_at_ns": ended_at_ns,
        "at_ns": ended_at_ns or at_ns,
    }


def _post(**changes: Any) -> Post:
    settings = {
        **dict.fromkeys(("slack", "to", "user"), ""),
        "sender": "twinfeed@example.com",
        "smtp": "127.0.0.1:1",
        "password_file": None,
        "prometheus": "http://127.0.0.1:1",
        "clickhouse": "http://127.0.0.1:1",
        "database": "twinfeed",
    }
    return Post(**{**settings, **changes})


@pytest.fixture
def mails(free_port: Callable[[], int]) -> Iterator[Mails]:
    """A mail server, and what it took."""
    taken = Mails()
    taken.port = free_port()
    server = Controller(taken, hostname="127.0.0.1", port=taken.port)
    server.start()
    yield taken
    server.stop()


@pytest.mark.service
async def test_a_restart_across_nine_tells_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mails: Mails
) -> None:
    """To Slack and by mail, with what came and went meanwhile; what is refused, until it is taken.

    Time is told: 20:00, then away over two nines, then on until the next.
    """
    evening = _ny("2026-11-23 20:00")
    nights = [_ny("2026-11-24 02:00"), _ny("2026-11-25 02:00")]
    rows = [
        _row("First", "alert_fired", nights[0]),
        _row("First", "alert_resolved", nights[0], nights[0] + HOUR),
        _row("Second", "alert_fired", nights[1]),
        _row("Later", "alert_fired", _ny("2026-11-25 10:00")),
    ]
    monkeypatch.setattr(report_cli, "history", lambda *_: rows)

    async def no_data(*_: object) -> dict[str, list[Any]]:
        return {name: [] for name in attainment.queries("1d")}

    monkeypatch.setattr(report_cli, "_ask_prometheus", no_data)
    told, memory = Receivers(), Memory(tmp_path / "sent.json")
    url = await told.start()
    try:
        post = _post(slack=url + SLACK_PATH, to="ops@example.com", smtp=f"127.0.0.1:{mails.port}")
        assert await tell_due(post, memory, evening) == []
        assert (told.lines, mails.taken) == ([], [])

        class OverError(Exception):
            """The test has seen enough."""

        clock = [_ny("2026-11-25 11:30")]

        async def sleep(seconds: float) -> None:
            clock[0] += int(seconds * NS)
            if clock[0] > _ny("2026-11-26 11:00"):
                raise OverError

        # a server that is away for an hour holds up the digest, and no other
        away = _post(slack=post.slack, to=post.to)
        (refusal,) = await tell_due(away, Memory(tmp_path / "sent.json"), clock[0])
        assert "does not take the digest" in str(refusal)
        assert [line["text"] for line in told.lines] == ["Service levels, 2026-11-25"]
        with pytest.raises(OverError):
            await follow(post, Memory(tmp_path / "sent.json"), lambda: clock[0], sleep)
    finally:
        await told.stop()
    assert not told.refused
    assert [line["text"] for line in told.lines] == [
        "Service levels, 2026-11-25",
        "Service levels, 2026-11-26",
    ]
    first, second = mails.taken
    assert "Subject: twinfeed: what could wait, 2026-11-25" in first
    assert "First: again and again (over after 60 min)" in first
    assert "Second: again and again (still on)" in first
    assert "Later" not in first
    assert "Later: again and again (still on)" in second


@pytest.mark.service
async def test_slack_that_refuses_is_asked_again() -> None:
    """Its answer is said, its address is not."""
    told = Receivers()
    url = await told.start()
    for slack, words in (
        (f"{url}/services/T0000/B0000/wrong", "Slack refuses the report: 404 no_service"),
        ("http://127.0.0.1:1/services/wrong", "Slack does not answer"),
    ):
        message = {"text": "t"}
        with pytest.raises(Refusal, match=words) as refused:
            await _post(slack=slack)._slack(message)
        assert "wrong" not in str(refused.value)
    await told.stop()


def test_what_was_told_is_kept_whole(tmp_path: Path) -> None:
    """Where nothing was told, all until the last nine counts as told; the file says so."""
    file, now_ns = tmp_path / "sent.json", _ny("2026-11-25 15:00")
    sent = Memory(file).sent(now_ns)
    assert msgspec.json.decode(file.read_bytes(), type=Sent) == sent
    assert {kind: sent.until(kind) for kind in KINDS} == {
        "daily": _ny("2026-11-25 09:00"),
        "digest": _ny("2026-11-25 09:00"),
        "monthly": _ny("2026-11-01 09:00"),
    }
    assert daily.due(sent, now_ns) == []


@pytest.mark.parametrize(
    ("options", "content", "said", "code"),
    [
        ([], "", "nobody is to be told", EX_CONFIG),
        (["--slack-url-file", "{file}"], "no address", "holds no address", EX_CONFIG),
        (["--slack-url-file", "{file}.not"], "", "cannot be read", EX_CONFIG),
        (["--to", "a@example.com", "--sent", "{file}"], "{}", "does not say what", EX_CONFIG),
        (["--to", "a@example.com", "--sent", "{file}/x"], "", "--sent: ", EX_CONFIG),
        (
            ["--to", "a@example.com", "--clickhouse", "http://127.0.0.1:1", "--sent", "{file}"],
            '{"daily":0,"monthly":0,"digest":0}',
            "ClickHouse at http://127.0.0.1:1 does not answer",
            EX_UNAVAILABLE,
        ),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, options: list[str], content: str, said: str, code: int
) -> None:
    """By the option, with what would be right."""
    file = tmp_path / "file"
    file.write_text(content)
    given = [option.format(file=file) for option in options]
    done = CliRunner().invoke(app, ["report", "send", *given])
    assert isinstance(done.exception, Refusal), done.output
    assert said in str(done.exception)
    assert done.exception.exit_code == code
