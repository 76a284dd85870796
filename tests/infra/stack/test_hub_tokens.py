"""`twinfeed token`, and the secret of the local stack."""

import stat
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.stack.hub_tokens import make_secret
from infra.stack.plan import HUB_SECRET_FILE
from infra.stack.refusal import Refusal

SECRET = "s" * 32


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is set where the tests run."""
    for name in ("HUB_JWT_SECRET", "HUB_JWT_SECRET_FILE", "HUB_JWT_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)


def test_a_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    """A restart invalidates no token."""
    file = tmp_path / HUB_SECRET_FILE
    make_secret(file)
    made = file.read_text()
    assert len(made.strip()) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    make_secret(file)
    assert file.read_text() == made


def test_a_token_says_who_and_what_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the stack's secret, or by the one that is named, which counts for more."""
    make_secret(tmp_path / HUB_SECRET_FILE)
    secret = (tmp_path / HUB_SECRET_FILE).read_text().strip()
    run = CliRunner().invoke
    said = run(app, ["token", "ann", "--data", str(tmp_path)]).stdout.strip()
    claims = jwt.decode(said, secret, ["HS256"])
    assert claims.keys() == {"sub", "exp"}
    monkeypatch.setenv("HUB_JWT_SECRET", SECRET)
    monkeypatch.setenv("HUB_JWT_AUDIENCE", "us")
    said = run(app, ["token", "bob", "--admin", "--hours", "1"]).stdout.strip()
    claims = jwt.decode(said, SECRET, ["HS256"], audience="us")
    assert (claims["sub"], claims["roles"]) == ("bob", ["admin"])


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        (None, "there is no secret to sign with: HUB_JWT_SECRET is not set, .*: No such file"),
        ("short", "expected at least 32 bytes"),
    ],
)
def test_without_a_good_secret(secret: str | None, sentence: str, tmp_path: Path) -> None:
    """It is said what is missing."""
    if secret:
        (tmp_path / HUB_SECRET_FILE).write_text(secret)
    with pytest.raises(Refusal, match=sentence):
        CliRunner().invoke(app, ["token", "ann", "--data", str(tmp_path)], catch_exceptions=False)


def test_a_name_is_one_line(tmp_path: Path) -> None:
    """It is kept in the log of commands."""
    make_secret(tmp_path / HUB_SECRET_FILE)
    assert CliRunner().invoke(app, ["token", "a\nb", "--data", str(tmp_path)]).exit_code == 2
