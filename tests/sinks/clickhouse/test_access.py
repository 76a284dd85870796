"""Who may do what on the embedded engine."""

import pytest

from sinks.clickhouse.access import Doors, User, check_read
from sinks.clickhouse.http import QueryError


@pytest.mark.parametrize(
    ("name", "password", "user"),
    [
        ("default", "own", User.OWNER),
        ("", "own", User.OWNER),
        ("analyst", "look", User.ANALYST),
        ("default", "look", None),
        ("analyst", "", None),
        ("analyst", "é", None),
        ("admin", "own", None),
    ],
)
def test_a_password_opens_its_own_door(name: str, password: str, user: User | None) -> None:
    """And no other."""
    doors = Doors(owner="own", analyst="look")
    if user is not None:
        assert doors.admit(name, password) is user
        return
    with pytest.raises(QueryError, match="password is incorrect, or there is no user") as error:
        doors.admit(name, password)
    assert error.value.code == 516


def test_a_door_without_a_password_is_open() -> None:
    """As on a machine of one's own; and the passwords are in no log."""
    assert Doors().admit("analyst", "") is User.ANALYST
    assert "secret" not in repr(Doors("secret", "secret"))


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'file(x) INTO OUTFILE'",
        b"with 1 AS x select x -- file",
        b"(SELECT 1) UNION ALL (SELECT 2)",
        b"FROM trades SELECT count()",
        b"SHOW TABLES",
        b"describe trades",
        b"EXPLAIN SELECT 1",
        b"EXISTS TABLE trades",
        b'SELECT `a``b`, "c d" FROM t SETTINGS max_threads = 1 FORMAT JSON',
    ],
)
def test_an_analyst_may_ask(text: bytes) -> None:
    """Whatever reads."""
    check_read(text, ["max_threads"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"INSERT INTO t VALUES (1)", 164),
        (b"DROP TABLE t", 164),
        (b"SET ROLE owner", 164),
        (b"SYSTEM FLUSH LOGS", 164),
        (b"KILL QUERY WHERE 1", 164),
        (b"EXECUTE AS default SELECT 1", 164),
        (b"BACKUP TABLE t TO File('x')", 164),
        (b"SELECT file('/etc/passwd')", 497),
        (b"SELECT `file`('/etc/passwd')", 497),
        (b'SELECT "file"(x) FROM t', 497),
        (b"SELECT * APPLY(file) FROM (SELECT '/etc/passwd')", 497),
        (b"SELECT `fi\\x6ce`('/etc/passwd')", 497),
        (b"SELECT * APPLY(`fi\\x6ce`) FROM (SELECT '/etc/passwd')", 497),
        (b"SELECT * FROM Python(os)", 497),
        (b"SELECT 1 INTO OUTFILE '/tmp/x'", 497),
        (b"SELECT 1 /* */ into\noutfile '/tmp/x'", 497),
    ],
)
def test_an_analyst_may_do_nothing_else(text: bytes, code: int) -> None:
    """Nor say in another way what the engine's own grants let through."""
    with pytest.raises(QueryError) as error:
        check_read(text, [])
    assert error.value.code == code


def test_an_analyst_speaks_clickhouses_sql() -> None:
    """In another dialect, words would mean something else than they are checked for."""
    with pytest.raises(QueryError, match="dialect"):
        check_read(b"SELECT 1", ["dialect"])
