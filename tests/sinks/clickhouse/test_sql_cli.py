"""`twinfeed sql`: what it shows, what it writes, and what it says of mistakes."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from infra import sql_cli
from infra.cli import app
from infra.sql_http import Address, read_error
from infra.stack import board as boards
from infra.stack import up as stack
from infra.stack.plan import plan
from infra.stack.refusal import Refusal
from tests.contracts.sql_page import fill
from tests.infra.stack.test_plan import HERE
from tests.sinks.clickhouse.conftest import EngineProcess

service = pytest.mark.service


class Asked:
    """Runs the command on a database."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        """Return what it printed."""
        runner = CliRunner(env=self.environment)
        return runner.invoke(app, ["sql", *arguments], input=stdin)


@pytest.fixture(scope="module")
def history(clickhouse: EngineProcess) -> Iterator[str]:
    """The name of a database that holds the made-up day."""
    name = "test_sql_cli"
    fill(clickhouse.store(name))
    yield name
    with clickhouse.client() as client:
        client.command(f"DROP DATABASE {name}")


@pytest.fixture
def ask(clickhouse: EngineProcess, history: str) -> Asked:
    """The command on that database, as an analyst."""
    url = clickhouse.url.replace("//", "//analyst@")
    return Asked({"CLICKHOUSE_URL": url, "CLICKHOUSE_DATABASE": history})


@service
def test_a_result_is_a_table(ask: Asked) -> None:
    """Numbers to the right, NULL told apart from an empty text, and how many rows."""
    shown = ask(
        "SELECT symbol, 10 * length(symbol) AS n, NULL AS no, '' AS e "
        "FROM (SELECT arrayJoin(['A', 'MSFT']) AS symbol) ORDER BY n"
    )
    assert shown.exit_code == 0, shown.output
    assert [line.rstrip() for line in shown.stdout.splitlines()] == [
        "symbol   n  no    e",
        "A       10  NULL",
        "MSFT    40  NULL",
        "2 rows",
    ]


@service
@pytest.mark.parametrize(
    ("arguments", "stdout"),
    [
        (["SELECT 1 AS a, 'x,y' AS b", "--format", "csv"], '"a","b"\n1,"x,y"\n'),
        (["SELECT 1 AS a, 'x' AS b", "--format", "tsv"], "a\tb\n1\tx\n"),
        (["SELECT 1 AS a, 'x' AS b;", "--format", "json"], '{"a":1,"b":"x"}\n'),
        (["SELECT 1 AS a FORMAT Vertical"], "Row 1:\n──────\na: 1\n"),
        (["SELECT {s:String} AS s FORMAT TSV", "--param", "s=it's\ta=b\\"], "it\\'s\\ta=b\\\\\n"),
        (["SELECT 1 WHERE 0 FORMAT CSV"], ""),
    ],
)
def test_a_result_is_in_the_format_that_was_asked_for(
    ask: Asked, arguments: list[str], stdout: str
) -> None:
    """By the option, or by the statement itself."""
    shown = ask(*arguments)
    assert (shown.exit_code, shown.stdout) == (0, stdout), shown.output


@service
def test_a_statement_comes_from_a_file_or_from_standard_input(ask: Asked, tmp_path: Path) -> None:
    """For those that do not fit on a line."""
    file = tmp_path / "question.sql"
    file.write_text("SELECT count() AS n\nFROM trades -- that stand\nFORMAT TSV")
    assert ask("--file", str(file)).stdout == "6\n"
    assert ask(stdin="SELECT 8 FORMAT TSV;").stdout == "8\n"


@service
def test_a_result_goes_into_a_file_whole_or_not_at_all(ask: Asked, tmp_path: Path) -> None:
    """Parquet by its name; what was there stays there when the statement fails."""
    out = tmp_path / "trades.parquet"
    done = ask("SELECT * FROM trades", "--out", str(out))
    assert done.exit_code == 0, done.output
    written = out.read_bytes()
    assert (written[:4], written[-4:]) == (b"PAR1", b"PAR1")
    assert f"{len(written):,} bytes of Parquet" in done.stderr
    failed = ask("SELECT throwIf(number = 9) FROM numbers(10)", "--out", str(out))
    assert isinstance(failed.exception, Refusal)
    assert out.read_bytes() == written
    assert list(tmp_path.iterdir()) == [out]
    ask("SELECT 1 AS a", "--out", str(tmp_path / "table"))
    assert (tmp_path / "table").read_text() == '"a"\n1\n'


@service
def test_many_rows_are_no_table(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows the first ones, and says how to have all."""
    monkeypatch.setattr(sql_cli, "TABLE_ROWS", 2)
    lines = ask("SELECT number FROM numbers(3)").stdout.splitlines()
    assert [line.strip() for line in lines[:3]] == ["number", "0", "1"]
    assert lines[3] == "2 of 3 rows; for all of them, --format csv, or --out"


@service
@pytest.mark.parametrize(
    ("statement", "said", "code"),
    [
        ("SELECT * FROM nowhere", "FROM nowhere (UNKNOWN_TABLE)", 65),
        ("SELEC 1", "SELEC is no reading: expected SELECT, WITH", 65),
        ("SELECT 1 FROM", "(SYNTAX_ERROR)", 65),
        ("DROP TABLE trades", "(READONLY)", 65),
        ("INSERT INTO followed_symbols VALUES ('A', 1, true)", "INSERT is no reading", 65),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", "INTO OUTFILE writes a file", 65),
    ],
)
def test_what_is_wrong_with_a_statement_is_said(
    ask: Asked, statement: str, said: str, code: int
) -> None:
    """In ClickHouse's words, without their frame."""
    refusal = ask(statement).exception
    assert isinstance(refusal, Refusal)
    assert said in str(refusal)
    assert "DB::Exception" not in str(refusal)
    assert refusal.exit_code == code


@service
def test_an_owner_changes_nothing_here_either(clickhouse: EngineProcess, history: str) -> None:
    """Whoever the address names: this command reads."""
    ask = Asked({"CLICKHOUSE_URL": clickhouse.url, "CLICKHOUSE_DATABASE": history})
    assert ask("SELECT 1 FORMAT TSV").stdout == "1\n"
    assert "READONLY" in str(ask("TRUNCATE TABLE followed_symbols").exception)


@service
def test_who_is_not_let_in_is_told(clickhouse: EngineProcess) -> None:
    """Without the password that did not do."""
    ask = Asked({"CLICKHOUSE_URL": clickhouse.url.replace("//", "//analyst:hush@")})
    refusal = ask("SELECT 1").exception
    assert isinstance(refusal, Refusal)
    assert (refusal.exit_code, "password is incorrect" in str(refusal)) == (78, True)
    assert "hush" not in str(refusal)


def test_nobody_there_is_said() -> None:
    """With the address."""
    refusal = Asked({"CLICKHOUSE_URL": "http://127.0.0.1:1"})("SELECT 1").exception
    assert isinstance(refusal, Refusal)
    assert refusal.exit_code == 69
    assert "ClickHouse at http://127.0.0.1:1: " in str(refusal)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["SELECT 1", "--format", "xls"],
            "'xls' is unknown: expected table, csv, tsv, json, parquet",
        ),
        (["SELECT 1", "--param", "x"], "'x' is not NAME=VALUE"),
        (["SELECT 1", "--param", "a b=1"], "'a b=1' is not NAME=VALUE"),
        (["SELECT 1", "--file", "q.sql"], "expected either a file or a statement"),
        (["--file", "/nowhere.sql"], "cannot read /nowhere.sql: No such file or directory"),
        ([" ; "], "expected a statement, for example"),
    ],
)
def test_a_wrong_command_line_gets_its_sentence(arguments: list[str], sentence: str) -> None:
    """Before anything is asked."""
    said = Asked({"COLUMNS": "300", "CLICKHOUSE_URL": "http://127.0.0.1:1"})(*arguments)
    assert said.exit_code == 2
    assert sentence in said.stderr


def test_no_stack_and_no_server_is_said(tmp_path: Path) -> None:
    """By the directory, and by the variable that would name a server."""
    refusal = Asked({})("SELECT 1", "--data", str(tmp_path)).exception
    assert str(refusal) == (
        f"no stack is running on {tmp_path}, and CLICKHOUSE_URL names no ClickHouse"
    )


def test_an_address_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Without repeating it: it may hold a password."""
    said = Asked({"CLICKHOUSE_URL": "me:hush@nowhere"})("SELECT 1")
    assert said.exit_code == 78
    assert "CLICKHOUSE_URL: expected http[s]://" in said.stderr + capsys.readouterr().err
    assert "hush" not in said.output


@service
def test_a_running_stack_is_found(clickhouse: EngineProcess, history: str, tmp_path: Path) -> None:
    """Its board tells where its history is; and one asks there as an analyst."""
    offset = clickhouse.port - HERE.port("clickhouse")
    layout = plan(replace(HERE, data=tmp_path, port_offset=HERE.port_offset + offset))
    me = psutil.Process()
    with stack.hold(tmp_path):
        boards.write(
            tmp_path,
            boards.Board(
                title="test",
                pid=me.pid,
                created=me.create_time(),
                started_at=time.time(),
                at=time.time(),
                addresses=layout.addresses,
            ),
        )
        ask = Asked({"CLICKHOUSE_DATABASE": history})
        shown = ask("SELECT currentRoles()[1] FORMAT TSV", "--data", str(tmp_path))
    assert (shown.exit_code, shown.stdout) == (0, "analyst\n"), shown.exception


@service
def test_a_prompt_asks_until_the_end(ask: Asked) -> None:
    """Lines until a semicolon, errors that end nothing, and what tables there are."""
    typed = ["SELECT 40 +", "2 AS answer;", "SELECT nowhere;", "\\d peak_hours", "\\?", "\\q"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "sql"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **ask.environment, "TERM": "dumb", "COLUMNS": "120"},
    ) as process:
        os.close(theirs)
        said = ""
        for line, prompt in zip(typed, ["sql>", "...>", *["sql>"] * 4], strict=True):
            said += _until(ours, prompt)
            os.write(ours, f"{line}\n".encode())
        assert process.wait(30) == 0
        said += _rest(ours)
    os.close(ours)
    assert "to be read only" in said
    assert "42" in said
    assert "`nowhere`" in said
    assert "its busiest hour in New York" in said


def _until(terminal: int, prompt: str) -> str:
    said = b""
    while prompt.encode() not in said.rpartition(b"\n")[2]:
        ready, _, _ = select.select([terminal], [], [], 30)
        assert ready, said
        said += os.read(terminal, 4096)
    return said.decode()


def _rest(terminal: int) -> str:
    said = b""
    try:
        while part := os.read(terminal, 4096):
            said += part
    except OSError:  # the other side is closed
        pass
    return said.decode()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "Code: 60. DB::Exception: Unknown table 'x'. Maybe y. (UNKNOWN_TABLE) (version 26.9)",
            (60, "Unknown table 'x'. Maybe y (UNKNOWN_TABLE)"),
        ),
        ("<html>Bad gateway</html>\n", (None, "<html>Bad gateway</html>")),
    ],
)
def test_an_error_is_taken_out_of_its_frame(text: str, error: tuple[int | None, str]) -> None:
    """And what is no error of ClickHouse's is shown as it came."""
    assert read_error(text) == error


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h", Address("http://h:8123", "db", "default")),
        ("https://a%40b:p%3A@h", Address("https://h:8443", "db", "a@b", "p:")),
        ("http://u@[::1]:9", Address("http://[::1]:9", "db", "u")),
    ],
)
def test_an_address_is_taken_apart(url: str, address: Address) -> None:
    """The password goes in a header, and is in no message."""
    assert Address.of(url, "db") == address
    assert "p:'" not in repr(address)


def test_a_question_for_columns_is_quoted() -> None:
    r"""`\d` takes a name as it is, whatever stands in it."""
    assert "table = 'it\\'s'" in sql_cli.described("\\d it's;")
    assert json.dumps(sql_cli.described("\\d")).count("system.tables") == 1
