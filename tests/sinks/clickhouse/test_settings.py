"""The ClickHouse sink's settings."""

import pytest

from infra.settings import EX_CONFIG, load
from sinks.clickhouse.settings import ClickHouseSettings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"CLICKHOUSE_URL": "clickhouse:9000"}, "CLICKHOUSE_URL: expected http[s]://"),
        ({"CLICKHOUSE_URL": "http://u:hush@h:99999"}, "CLICKHOUSE_URL: the port is not a number"),
        ({"CLICKHOUSE_URL": "http://u:hush@h/db"}, "CLICKHOUSE_URL: expected nothing behind the"),
        ({"CLICKHOUSE_DATABASE": "default"}, "CLICKHOUSE_DATABASE: 'default' is ClickHouse's own"),
        ({"CLICKHOUSE_DATABASE": "a-b"}, "CLICKHOUSE_DATABASE: string should match pattern"),
        ({"CLICKHOUSE_CLUSTER": "main"}, "CLICKHOUSE_CLUSTER: expected CLICKHOUSE_URL beside it"),
        (
            {"CLICKHOUSE_URL": "http://h", "CLICKHOUSE_CLUSTER": "it's"},
            "CLICKHOUSE_CLUSTER: string should match pattern",
        ),
        ({"CLICKHOUSE_HTTP_PORT": "x"}, "CLICKHOUSE_HTTP_PORT: input should be a valid integer"),
        ({"CLICKHOUSE_HTTP_HOST": "localhost"}, "CLICKHOUSE_HTTP_HOST: 'localhost' is not an IP"),
        (
            {"CLICKHOUSE_HTTP_HOST": "192.0.2.1"},
            (
                "CLICKHOUSE_HTTP_HOST: 192.0.2.1 is not loopback: "
                "set CLICKHOUSE_HTTP_PASSWORD and CLICKHOUSE_ANALYST_PASSWORD to serve it there"
            ),
        ),
        (
            {"CLICKHOUSE_HTTP_HOST": "192.0.2.1", "CLICKHOUSE_HTTP_PASSWORD": "hush"},
            "CLICKHOUSE_HTTP_HOST: 192.0.2.1 is not loopback: set CLICKHOUSE_ANALYST_PASSWORD to",
        ),
    ],
)
def test_a_wrong_setting_gets_its_sentence(
    settings: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line that names the variable and tells no password."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        load(ClickHouseSettings)
    said = capsys.readouterr().err
    assert end.value.code == EX_CONFIG
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert "hush" not in said


def test_it_may_be_opened_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond loopback only behind passwords."""
    monkeypatch.setenv("CLICKHOUSE_HTTP_HOST", "192.0.2.1")
    monkeypatch.setenv("CLICKHOUSE_HTTP_PASSWORD", "own")
    monkeypatch.setenv("CLICKHOUSE_ANALYST_PASSWORD", "look")
    assert load(ClickHouseSettings).clickhouse_http_host == "192.0.2.1"


def test_the_url_is_kept_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a password."""
    monkeypatch.setenv("CLICKHOUSE_URL", "https://me:hush@history.example.com:8443")
    assert "hush" not in repr(load(ClickHouseSettings))
