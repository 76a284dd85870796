"""What two deployments of ingest can differ in."""

from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from infra.market_settings import MarketSettings
from infra.settings import StageSettings
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
        symbols: what to follow, most important first; from the file that SYMBOLS_FILE names.

    """

    symbols: Annotated[tuple[str, ...], NoDecode, BeforeValidator(read)] = Field(
        default=str(DEFAULT_FILE),
        validation_alias="SYMBOLS_FILE",
        validate_default=True,
    )


class AlpacaSettings(SymbolSettings):
    """What the Alpaca worker needs to know.

    Attributes:
        alpaca_stream_url: the stream; the last part of its path is the feed.
        alpaca_api_key_id: the key's id.
        alpaca_api_secret_key: the key's secret.
        alpaca_encoding: of the frames, both ways.
        alpaca_symbol_limit: how many symbols the plan allows.

    """

    alpaca_stream_url: str = "wss://stream.data.alpaca.markets/v2/iex"
    alpaca_api_key_id: SecretStr
    alpaca_api_secret_key: SecretStr
    alpaca_encoding: Literal["json", "msgpack"] = "json"
    alpaca_symbol_limit: int = Field(default=30, ge=1, le=100_000)

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
