"""The hub's settings."""

from pathlib import Path

import pytest

from infra.settings import EX_CONFIG, load
from sinks.hub.settings import HubSettings

OPEN = {"HUB_ANONYMOUS": "true"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "HUB_ANONYMOUS: nobody could connect: set HUB_JWT_SECRET, or HUB_ANONYMOUS=true"),
        ({"HUB_JWT_SECRET": "hush"}, "HUB_JWT_SECRET: expected at least 32 bytes"),
        ({"HUB_JWT_SECRET_FILE": "/nope"}, "HUB_JWT_SECRET_FILE: /nope cannot be read: No such"),
        ({"HUB_JWT_SECRET_FILE": "/dev/null"}, "HUB_JWT_SECRET_FILE: /dev/null: expected at least"),
        ({"HUB_ANONYMOUS": "perhaps"}, "HUB_ANONYMOUS: input should be a valid boolean"),
        ({**OPEN, "HUB_ORIGINS": "ours.example"}, "HUB_ORIGINS: 'ours.example' is not an origin"),
        ({**OPEN, "HUB_ORIGINS": "https://a.example/"}, "HUB_ORIGINS: 'https://a.example/' is no"),
        ({**OPEN, "HUB_ORIGINS": "*"}, "HUB_ORIGINS: '*' is not an origin"),
        ({**OPEN, "HUB_HOST": "localhost"}, "HUB_HOST: 'localhost' is not an IP address"),
        ({**OPEN, "HUB_PORT": "65536"}, "HUB_PORT: input should be less than or equal to 65535"),
        ({**OPEN, "PROMETHEUS_URL": "u:hush@p"}, "PROMETHEUS_URL: expected http://host:port or h"),
        ({**OPEN, "HUB_MAX_CLIENTS": "0"}, "HUB_MAX_CLIENTS: input should be greater than or"),
    ],
)
def test_a_wrong_setting_gets_its_sentence(
    settings: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line that names the variable and tells no secret."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        load(HubSettings)
    said = capsys.readouterr().err
    assert end.value.code == EX_CONFIG
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert "hush" not in said


def test_with_a_secret_nobody_is_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays out of sight; origins are listed by commas."""
    monkeypatch.setenv("HUB_JWT_SECRET", "hush" * 8)
    monkeypatch.setenv("HUB_ORIGINS", "https://a.example, http://b.example:81")
    settings = load(HubSettings)
    assert not settings.hub_anonymous
    assert settings.origins == {"https://a.example", "http://b.example:81"}
    assert "hush" not in repr(settings)
    assert settings.secret() == "hush" * 8


def test_a_secret_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the line's end; a variable counts for more."""
    file = tmp_path / "secret"
    file.write_text("s" * 32 + "\n")
    monkeypatch.setenv("HUB_JWT_SECRET_FILE", str(file))
    assert load(HubSettings).secret() == "s" * 32
    monkeypatch.setenv("HUB_JWT_SECRET", "hush" * 8)
    assert load(HubSettings).secret() == "hush" * 8
