"""What two deployments of ingest can differ in."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from infra.market_settings import MarketSettings
from infra.settings import StageSettings
from ingest.keyring import read_key_files, read_keys_file
from ingest.keys import Keys, KeysError, check_key
from ingest.lists import Question, question
from ingest.shed import LIMIT_BYTES, MEBIBYTE
from ingest.symbols import DEFAULT_FILE, read


def _url(value: str, schemes: tuple[str, ...]) -> SplitResult:
    url = urlsplit(value)
    if url.scheme not in schemes or not url.hostname:
        message = f"{value!r} is not a URL of the form {'://... or '.join(schemes)}://..."
        raise ValueError(message)
    return url


class BufferSettings(StageSettings):
    """What every stage needs to know that publishes what cannot be had again.

    Attributes:
        publish_buffer_mb: how much may wait in memory while Kafka is away, in MiB.

    """

    publish_buffer_mb: int = Field(default=LIMIT_BYTES // MEBIBYTE, ge=8, le=4096)

    @property
    def publish_buffer_bytes(self) -> int:
        """The same in bytes."""
        return self.publish_buffer_mb * MEBIBYTE


class SymbolSettings(BufferSettings):
    """What every stage needs to know that follows symbols.

    Attributes:
        symbols_file: what to follow, one a line, most important first; may change while we run.
        symbols_source: where another list is that counts for more, as ingest.lists reads it; the
            file is what we begin with until that one answers.

    """

    symbols_file: Path = DEFAULT_FILE
    symbols_source: SecretStr | None = None  # it may hold a password

    @field_validator("symbols_file")
    @classmethod
    def _is_a_list(cls, value: Path) -> Path:
        read(value)
        return value

    @field_validator("symbols_source")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            question(value.get_secret_value())
        return value

    @property
    def list_file(self) -> Path:
        """The file that this stage's own list is in."""
        return self.symbols_file

    @property
    def symbols_asked(self) -> Question | None:
        """What to ask for the other list; None where there is none."""
        return question(self.symbols_source.get_secret_value()) if self.symbols_source else None

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the file says now. Raises ValueError where it is no list of symbols."""
        return read(self.list_file)


class KeySettings(StageSettings):
    """What every stage needs to know that speaks to Alpaca.

    The keys come in one of three ways: both in the environment, each in a file of its own, or both
    in one file, which can be replaced as a whole while we run.

    Attributes:
        alpaca_api_key_id: the key's id.
        alpaca_api_secret_key: the key's secret.
        alpaca_api_key_id_file: a file that holds the key's id.
        alpaca_api_secret_key_file: a file that holds the key's secret.
        alpaca_keys_file: a file that holds both, as `NAME=value` lines.

    """

    alpaca_api_key_id: SecretStr | None = None
    alpaca_api_secret_key: SecretStr | None = None
    alpaca_api_key_id_file: Path | None = None
    alpaca_api_secret_key_file: Path | None = None
    alpaca_keys_file: Path | None = None

    @field_validator("alpaca_api_key_id", "alpaca_api_secret_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_key(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = {
            "ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY": (
                self.alpaca_api_key_id,
                self.alpaca_api_secret_key,
            ),
            "ALPACA_API_KEY_ID_FILE and ALPACA_API_SECRET_KEY_FILE": (
                self.alpaca_api_key_id_file,
                self.alpaca_api_secret_key_file,
            ),
            "ALPACA_KEYS_FILE": (self.alpaca_keys_file,),
        }
        begun = [way for way, parts in ways.items() if any(parts)]
        if len(begun) != 1:
            found = f"found {'; '.join(begun)}" if begun else "there are none"
            message = f"the keys come by exactly one of {'; '.join(ways)}: {found}"
            raise ValueError(message)
        if not all(ways[begun[0]]):
            message = f"one of {begun[0]} is missing"
            raise ValueError(message)
        self.read_keys()
        return self

    @property
    def key_files(self) -> tuple[Path, ...]:
        """The files that hold the keys, which can be replaced; none where they stand elsewhere."""
        files = (
            self.alpaca_keys_file,
            self.alpaca_api_key_id_file,
            self.alpaca_api_secret_key_file,
        )
        return tuple(file for file in files if file)

    def read_keys(self) -> Keys:
        """Return the keys as they are now. Raises ingest.keys.KeysError."""
        if self.alpaca_keys_file:
            return read_keys_file(self.alpaca_keys_file)
        if self.alpaca_api_key_id_file and self.alpaca_api_secret_key_file:
            return read_key_files(self.alpaca_api_key_id_file, self.alpaca_api_secret_key_file)
        if self.alpaca_api_key_id and self.alpaca_api_secret_key:
            return Keys(
                key_id=self.alpaca_api_key_id.get_secret_value(),
                secret=self.alpaca_api_secret_key.get_secret_value(),
            )
        message = "there are no keys"
        raise KeysError(message)


class AlpacaSettings(SymbolSettings, MarketSettings, KeySettings):
    """What the Alpaca worker needs to know.

    Attributes:
        alpaca_stream_url: the stream; the last part of its path is the feed.
        alpaca_encoding: of the frames, both ways.
        alpaca_symbol_limit: how many symbols the plan allows.
        alpaca_tier: the plan's name, for the metrics.
        enable_alpaca_streaming: whether to stream at all.
        alpaca_symbols_file: what to stream where that is less than all others follow; it counts for
            more than SYMBOLS_FILE and SYMBOLS_SOURCE, and may change while we run.

    """

    alpaca_stream_url: str = "wss://stream.data.alpaca.markets/v2/iex"
    alpaca_encoding: Literal["json", "msgpack"] = "json"
    alpaca_symbol_limit: int = Field(default=30, ge=1, le=100_000)
    alpaca_tier: Literal["free", "plus"] = "free"
    enable_alpaca_streaming: bool = True
    alpaca_symbols_file: Path | None = None

    @field_validator("alpaca_symbols_file")
    @classmethod
    def _is_a_list_too(cls, value: Path | None) -> Path | None:
        if value is not None:
            read(value)
        return value

    @property
    def list_file(self) -> Path:
        """The stream's own list, where there is one."""
        return self.alpaca_symbols_file or self.symbols_file

    @property
    def symbols_asked(self) -> Question | None:
        """None where the stream has a list of its own."""
        return None if self.alpaca_symbols_file else super().symbols_asked

    @field_validator("alpaca_stream_url")
    @classmethod
    def _stream(cls, value: str) -> str:
        if not _url(value, ("wss", "ws")).path.strip("/"):
            message = f"{value!r} names no feed: expected a path such as /v2/iex"
            raise ValueError(message)
        return value

    @property
    def feed(self) -> str:
        """The vendor's name of the stream: `iex`, `sip`, `test`."""
        return urlsplit(self.alpaca_stream_url).path.rstrip("/").rpartition("/")[2]


class BackfillSettings(KeySettings):
    """What the backfill worker needs to know.

    Attributes:
        alpaca_data_url: where `/v2/stocks/trades` and `/v2/stocks/bars` are served.
        member_name: this worker's name in its group, if it keeps one over a restart, as in
            processors.settings.

    """

    alpaca_data_url: str = "https://data.alpaca.markets"
    member_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$", max_length=200)

    @field_validator("alpaca_data_url")
    @classmethod
    def _base(cls, value: str) -> str:
        _url(value, ("https", "http"))
        return value.rstrip("/")


class YahooSettings(SymbolSettings, MarketSettings):
    """What the Yahoo worker needs to know.

    Attributes:
        yahoo_base_url: where `/v7/finance/spark` and `/v8/finance/chart` are served.
        yahoo_poll_seconds: from the beginning of one poll to that of the next.
        yahoo_active_poll_seconds: the same while Yahoo is the source that is routed.

    """

    yahoo_base_url: str = "https://query1.finance.yahoo.com"
    yahoo_poll_seconds: float = Field(default=60.0, ge=1, le=3600)
    yahoo_active_poll_seconds: float = Field(default=15.0, ge=1, le=3600)

    @field_validator("yahoo_base_url")
    @classmethod
    def _base(cls, value: str) -> str:
        _url(value, ("https", "http"))
        return value.rstrip("/")
