"""Ingest's settings: a sentence for each mistake, and no secret in any."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from infra.settings import EX_CONFIG, StageSettings, load
from infra.stack.environment import StackEnvironment
from ingest.keys import Keys
from ingest.lists import FORMS
from ingest.settings import AlpacaSettings, BackfillSettings, YahooSettings
from ingest.symbols import DEFAULT_FILE, parse
from sinks.clickhouse.settings import ClickHouseSettings

WAYS = (
    "ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY; "
    "ALPACA_API_KEY_ID_FILE and ALPACA_API_SECRET_KEY_FILE; ALPACA_KEYS_FILE"
)
TWO_OF_THEM = "ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY; ALPACA_KEYS_FILE"
KEYS = {"ALPACA_API_KEY_ID": "PKEY", "ALPACA_API_SECRET_KEY": "hush-hush"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing of the developer's own environment."""
    for settings in (AlpacaSettings, YahooSettings):
        for name, field in settings.model_fields.items():
            alias = field.validation_alias
            monkeypatch.delenv(alias if isinstance(alias, str) else name.upper(), raising=False)


def _set(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_keys_are_all_that_alpaca_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else has a default that works on the vendor's free plan."""
    _set(monkeypatch, KEYS)
    settings = load(AlpacaSettings)
    assert settings.feed == "iex"
    assert settings.alpaca_encoding == "json"
    assert settings.alpaca_symbol_limit == 30
    assert settings.symbols == parse(DEFAULT_FILE.read_text(encoding="utf-8"))
    assert settings.read_keys() == Keys(key_id="PKEY", secret="hush-hush")
    assert not settings.key_files
    assert settings.enable_alpaca_streaming


def test_yahoo_needs_nothing() -> None:
    """Yahoo has no keys: its defaults are enough."""
    settings = load(YahooSettings)
    assert settings.yahoo_base_url == "https://query1.finance.yahoo.com"
    assert settings.yahoo_poll_seconds == 60
    assert settings.yahoo_active_poll_seconds == 15


@pytest.mark.parametrize(
    ("url", "feed"),
    [
        ("ws://127.0.0.1:19100/v2/sip", "sip"),
        ("wss://stream.data.alpaca.markets/v2/test/", "test"),
        ("wss://stream.data.alpaca.markets/v1beta1/overnight", "overnight"),
    ],
)
def test_feed_is_the_end_of_the_url(url: str, feed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream's address names its feed."""
    _set(monkeypatch, {**KEYS, "ALPACA_STREAM_URL": url})
    assert load(AlpacaSettings).feed == feed


def test_symbols_come_from_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SYMBOLS_FILE names the list."""
    file = tmp_path / "mine.txt"
    file.write_text("NVDA\nBRK.B # a class\n")
    _set(monkeypatch, {"SYMBOLS_FILE": str(file)})
    assert load(YahooSettings).symbols == ("NVDA", "BRK.B")


def test_alpaca_may_have_a_list_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ALPACA_SYMBOLS_FILE counts for more than what all others follow, wherever that stands."""
    (tmp_path / "all").write_text("NVDA\nAAPL\n")
    (tmp_path / "stage").write_text("NVDA\n")
    everywhere = {"SYMBOLS_FILE": str(tmp_path / "all"), "SYMBOLS_SOURCE": "https://list.example/"}
    _set(monkeypatch, {**KEYS, **everywhere})
    assert load(AlpacaSettings).symbols == ("NVDA", "AAPL")
    assert load(AlpacaSettings).symbols_asked
    _set(monkeypatch, {"ALPACA_SYMBOLS_FILE": str(tmp_path / "stage")})
    assert load(AlpacaSettings).symbols == ("NVDA",)
    assert load(AlpacaSettings).symbols_asked is None
    assert load(YahooSettings).symbols == ("NVDA", "AAPL")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"ALPACA_API_KEY_ID": ""},
            "settings: one of ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY is missing",
        ),
        (
            {"ALPACA_API_SECRET_KEY": ""},
            "settings: one of ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY is missing",
        ),
        (
            {"ALPACA_API_KEY_ID": "", "ALPACA_API_SECRET_KEY": ""},
            f"settings: the keys come by exactly one of {WAYS}: there are none",
        ),
        (
            {"ALPACA_KEYS_FILE": "/no/such"},
            f"settings: the keys come by exactly one of {WAYS}: found {TWO_OF_THEM}",
        ),
        (
            {
                "ALPACA_API_KEY_ID": "",
                "ALPACA_API_SECRET_KEY": "",
                "ALPACA_KEYS_FILE": "/no/such",
            },
            "settings: /no/such: No such file or directory",
        ),
        (
            {
                "ALPACA_API_KEY_ID": "",
                "ALPACA_API_SECRET_KEY": "",
                "ALPACA_API_KEY_ID_FILE": "/no/such",
            },
            "settings: one of ALPACA_API_KEY_ID_FILE and ALPACA_API_SECRET_KEY_FILE is missing",
        ),
        (
            {"ALPACA_API_KEY_ID": "'hush-hush'"},
            "ALPACA_API_KEY_ID: expected a key without quotes, spaces and control characters",
        ),
        (
            {"ALPACA_API_SECRET_KEY": "hush hush"},
            "ALPACA_API_SECRET_KEY: expected a key without quotes, spaces and control characters",
        ),
        (
            {"SYMBOLS_SOURCE": "ftp://ann:hush-hush@lists.example/"},
            f"SYMBOLS_SOURCE: expected {FORMS}",
        ),
        (
            {"ENABLE_ALPACA_STREAMING": "maybe"},
            "ENABLE_ALPACA_STREAMING: input should be a valid boolean, unable to interpret input",
        ),
        ({"ALPACA_TIER": "gold"}, "ALPACA_TIER: input should be 'free' or 'plus'"),
        (
            {"ALPACA_STREAM_URL": "https://x/v2/iex"},
            "ALPACA_STREAM_URL: 'https://x/v2/iex' is not a URL of the form wss://... or ws://...",
        ),
        (
            {"ALPACA_STREAM_URL": "wss:///v2/iex"},
            "ALPACA_STREAM_URL: 'wss:///v2/iex' is not a URL of the form wss://... or ws://...",
        ),
        (
            {"ALPACA_STREAM_URL": "wss://host/"},
            "ALPACA_STREAM_URL: 'wss://host/' names no feed: expected a path such as /v2/iex",
        ),
        ({"ALPACA_ENCODING": "xml"}, "ALPACA_ENCODING: input should be 'json' or 'msgpack'"),
        (
            {"ALPACA_SYMBOL_LIMIT": "0"},
            "ALPACA_SYMBOL_LIMIT: input should be greater than or equal to 1",
        ),
        ({"SYMBOLS_FILE": "/no/such"}, "SYMBOLS_FILE: /no/such: No such file or directory"),
        (
            {"ALPACA_SYMBOLS_FILE": "/no/such"},
            "ALPACA_SYMBOLS_FILE: /no/such: No such file or directory",
        ),
        ({"KAFKA_BOOTSTRAP_SERVERS": "x"}, "KAFKA_BOOTSTRAP_SERVERS: 'x' is not host:port"),
    ],
)
def test_mistake_is_one_sentence(
    variables: Mapping[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A wrong setting ends the process with EX_CONFIG and one sentence that tells no secret."""
    _set(monkeypatch, {**KEYS, **variables})
    with pytest.raises(SystemExit) as left:
        load(AlpacaSettings)
    assert left.value.code == EX_CONFIG
    assert capsys.readouterr().err == f"{sentence}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"aapl\n", "line 1: 'aapl' is not a symbol such as AAPL or BRK.B"),
        (b"\n", "no symbol in it"),
        (b"\xff\n", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_broken_list_of_symbols_is_named(
    content: bytes,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A list that cannot be read says which file it is, and what is wrong in it."""
    file = tmp_path / "symbols.txt"
    file.write_bytes(content)
    _set(monkeypatch, {"SYMBOLS_FILE": str(file)})
    with pytest.raises(SystemExit):
        load(YahooSettings)
    assert capsys.readouterr().err == f"SYMBOLS_FILE: {file}: {reason}\n"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"YAHOO_BASE_URL": "yahoo.com"},
            "YAHOO_BASE_URL: 'yahoo.com' is not a URL of the form https://... or http://...",
        ),
        (
            {"PUBLISH_BUFFER_MB": "7"},
            "PUBLISH_BUFFER_MB: input should be greater than or equal to 8",
        ),
        (
            {"PUBLISH_BUFFER_MB": "4097"},
            "PUBLISH_BUFFER_MB: input should be less than or equal to 4096",
        ),
        (
            {"YAHOO_POLL_SECONDS": "0"},
            "YAHOO_POLL_SECONDS: input should be greater than or equal to 1",
        ),
        (
            {"YAHOO_ACTIVE_POLL_SECONDS": "3601"},
            "YAHOO_ACTIVE_POLL_SECONDS: input should be less than or equal to 3600",
        ),
        ({"MARKET_HOURS": "XLON"}, "MARKET_HOURS: input should be 'XNYS' or 'always'"),
    ],
)
def test_yahoo_mistake_is_one_sentence(
    variables: Mapping[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same for the poller."""
    _set(monkeypatch, variables)
    with pytest.raises(SystemExit):
        load(YahooSettings)
    assert capsys.readouterr().err == f"{sentence}\n"


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are printed tell neither the key nor its secret."""
    _set(monkeypatch, KEYS)
    shown = repr(load(AlpacaSettings))
    assert "PKEY" not in shown
    assert "hush-hush" not in shown


def test_another_list_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address may hold a password, which no settings that are printed show."""
    _set(monkeypatch, {"SYMBOLS_SOURCE": "clickhouse://ann:hush-hush@ch.example/market/t"})
    settings = load(YahooSettings)
    assert settings.symbols_asked
    assert settings.symbols_asked.origin == "clickhouse://ch.example:8123/market/t"
    assert "hush-hush" not in repr(settings)
    monkeypatch.delenv("SYMBOLS_SOURCE")
    assert load(YahooSettings).symbols_asked is None


def _all_settings(settings: type[BaseSettings]) -> Iterator[type[BaseSettings]]:
    yield settings
    for narrower in settings.__subclasses__():
        yield from _all_settings(narrower)


def test_no_field_that_smells_of_a_secret_is_plain_text() -> None:
    """Whatever is named a key, a secret, a password or a token is a SecretStr, or names a file."""
    stages = set(_all_settings(StageSettings))
    assert {AlpacaSettings, BackfillSettings, ClickHouseSettings, StackEnvironment} <= stages
    for settings in stages:
        for name, field in settings.model_fields.items():
            smells = any(word in name for word in ("key", "secret", "password", "token"))
            holds_an_address = name in {"symbols_source", "clickhouse_url"}
            if (smells and not name.endswith("_file")) or holds_an_address:
                assert "SecretStr" in str(field.annotation), f"{settings.__name__}.{name}"
