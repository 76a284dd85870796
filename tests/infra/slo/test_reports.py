"""The reports of service levels, and the digest."""

import json
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from typer.testing import CliRunner

from infra import report_cli
from infra.prometheus.rules import files
from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.slo import attainment, digest
from infra.slo.levels import BOUNDS, LEVELS
from infra.slo.quality import NS, Firing
from infra.stack.refusal import Refusal
from tests.contracts.promql import lint_rules
from tests.infra.slo.mails import Mails

HOUR = 3600 * NS


def _answers(**known: float) -> dict[str, attainment.Vector]:
    """Return Prometheus's answers, where only these are known; `a_b` for `a b`."""
    asked: dict[str, attainment.Vector] = {name: [] for name in attainment.queries("1d")}
    told = {
        name.replace("__", " ").replace("_", "-"): [{"metric": {}, "value": [0, str(value)]}]
        for name, value in known.items()
    }
    assert told.keys() <= asked.keys()
    return {**asked, **told}


@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (1.0, "normal"),
        (0.61, "normal"),
        (0.6, "watch"),
        (0.41, "watch"),
        (0.4, "reliability first"),
        (0.2, "feature freeze"),
        (0.01, "feature freeze"),
        (0.0, "incident and postmortem"),
        (-3.0, "incident and postmortem"),
    ],
)
def test_the_policy_follows_the_budget(left: float, stage: str) -> None:
    """Above 60 % normal; 60 to 40 watch; 40 to 20 reliability; below 20 freeze; 0 incident."""
    levels, _ = attainment.attained(_answers(left__service_availability=left))
    assert levels[0].stage == stage


def test_a_report_says_what_was_attained_and_what_is_left() -> None:
    """In shares, and where it is time in hours; with its trend; and where nothing is known, so."""
    answers = _answers(
        error__service_availability=0.001,
        left__service_availability=0.8,
        before__service_availability=0.9,
        value__failover_frequency=7,
    )
    answers["of validation-success"] = [{"metric": {"reason": "malformed"}, "value": [0, "12"]}]
    page = attainment.markdown("Today", *attainment.attained(answers))
    assert "| 99.5 % over 30d | 99.900 % | 80.0 % (2.88 h) | -10.0 points | normal |" in page
    assert "| 98 % over 7d | no data | - | - | - |" in page
    assert "| 5 failovers | 7.0 failovers, BROKEN |" in page
    assert "| 10 s | none |" in page
    assert "What Q1 lost to: malformed 12." in page


def test_slack_takes_the_report() -> None:
    """A header and a block a level, none of them too long or too many."""
    message = attainment.slack("Today", *attainment.attained(_answers()))
    assert message["text"] == "Today"
    assert [block["type"] for block in message["blocks"]] == [
        "header",
        *["section"] * (len(LEVELS) + len(BOUNDS)),
    ]
    assert len(message["blocks"]) <= 50
    assert json.dumps(message)


def test_what_is_asked_exists() -> None:
    """Every metric, label and value of the reports' queries is declared or recorded."""
    rules = [
        {"alert": name, "expr": expr, "annotations": {}}
        for name, expr in attainment.queries("1d").items()
    ]
    reports = {"groups": [{"name": "reports", "rules": rules}]}
    assert lint_rules({**files(), "reports.yml": reports}) == []


def _firing(name: str, started: int, ended: int | None, severity: str = "low") -> Firing:
    return Firing(
        name=name,
        severity=severity,
        service="ingest",
        summary=f"{name} is so",
        started_at_ns=started * HOUR,
        ended_at_ns=None if ended is None else ended * HOUR,
    )


def test_the_digest_loses_nothing_that_is_over() -> None:
    """What came and went in the night, what began before and ended within, what is still on."""
    told = [
        _firing("Before", 1, 9),
        _firing("Early", 5, 11),
        _firing("Night", 12, 13),
        _firing("Still", 20, None),
        _firing("Loud", 20, None, severity="high"),
        _firing("After", 34, None),
    ]
    found = digest.of_day(told, 10 * HOUR, 34 * HOUR)
    assert [firing.name for firing in found] == ["Early", "Night", "Still"]
    text = digest.text(found)
    assert "Night: Night is so (over after 60 min)" in text
    assert "Still: Still is so (still on)" in text
    assert text.startswith("ingest\n------\n")


def test_a_quiet_day_says_so() -> None:
    """An empty mail would look like a fault."""
    assert digest.text([]) == "Nothing that could wait has fired.\n"


@pytest.mark.service
def test_the_digest_is_mailed(
    monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    """Over SMTP, whole, to whom it is for; with the day in its subject."""
    mails, port = Mails(), free_port()
    server = Controller(mails, hostname="127.0.0.1", port=port)
    server.start()
    try:
        rows: list[dict[str, Any]] = [
            {
                **dict.fromkeys(("incident_key", "verdict"), ""),
                "inhibited_by": [],
                "event": "alert_fired",
                "fingerprint": "f",
                "name": "Flapping",
                "severity": "low",
                "service": "ingest",
                "summary": "again and again",
                "started_at_ns": 1,
                "ended_at_ns": None,
                "at_ns": 1,
            }
        ]
        monkeypatch.setattr(report_cli, "history", lambda *_: rows)
        options = ["digest", "--to", "ops@example.com", "--smtp", f"127.0.0.1:{port}"]
        done = CliRunner().invoke(report_cli.app, options)
        assert done.exit_code == 0, done.output
    finally:
        server.stop()
    (mail,) = mails.taken
    assert "To: ops@example.com" in mail
    assert "Subject: twinfeed: what could wait, " in mail
    assert "Flapping: again and again (still on)" in mail


@pytest.mark.service
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_server_that_wants_a_name_is_told_so(free_port: Callable[[], int]) -> None:
    """One that takes mails of those it knows alone says so, and so do we."""
    port = free_port()
    server = Controller(
        Mails(),
        hostname="127.0.0.1",
        port=port,
        auth_required=True,
        auth_require_tls=False,
        authenticator=lambda *_: AuthResult(success=False),
    )
    server.start()
    try:
        mail = EmailMessage()
        mail["From"], mail["To"] = "a@example.com", "b@example.com"
        with pytest.raises(Refusal, match="does not take the digest") as refused:
            report_cli.mailed(mail, f"127.0.0.1:{port}", "", None)
        assert refused.value.exit_code == EX_UNAVAILABLE
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("options", "sentence", "code"),
    [
        (["alerts", "--clickhouse", "http://127.0.0.1:1"], "ClickHouse at", EX_UNAVAILABLE),
        (["slo", "--prometheus", "http://127.0.0.1:1"], "Prometheus at", EX_UNAVAILABLE),
        (["slo", "--prometheus", "http://u:secret@127.0.0.1:1"], "Prometheus at", EX_UNAVAILABLE),
        (["slo", "--prometheus", "nonsense"], "Prometheus at nonsense", EX_UNAVAILABLE),
        (
            ["judge", "f", "1", "noise", "--why", "w", "--history", "http://127.0.0.1:1"],
            "the alerts' history at",
            EX_UNAVAILABLE,
        ),
        (["digest", "--clickhouse", "http://u:secret@127.0.0.1:1"], "ClickHouse", EX_UNAVAILABLE),
    ],
)
def test_who_does_not_answer_is_named(options: list[str], sentence: str, code: int) -> None:
    """In one sentence, which tells no password."""
    done = CliRunner().invoke(report_cli.app, options)
    assert isinstance(done.exception, Refusal)
    assert done.exception.exit_code == code
    assert str(done.exception).startswith(sentence)
    assert "secret" not in str(done.exception)


@pytest.mark.parametrize("smtp", ["mail", "mail:smtp", ":25"])
def test_a_wrong_server_is_named(smtp: str) -> None:
    """By the option."""
    with pytest.raises(Refusal, match="--smtp: ") as refused:
        report_cli.mailed(EmailMessage(), smtp, "", None)
    assert refused.value.exit_code == EX_CONFIG


def test_a_report_is_of_a_day_or_of_a_month() -> None:
    """Not of both."""
    done = CliRunner().invoke(report_cli.app, ["slo", "--daily", "--monthly"])
    assert done.exit_code == 2
    assert "not both" in done.output
