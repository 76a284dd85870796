"""What the ClickHouse sink needs to know."""

import ipaddress
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from infra.market_settings import MarketSettings
from infra.settings import check_port, http_url


class ClickHouseSettings(MarketSettings):
    """The settings of `python -m sinks.clickhouse`.

    Attributes:
        clickhouse_url: `http[s]://[user[:password]@]host[:port]` of a server; without it the sink
            runs the engine in its own process.
        clickhouse_database: the database that holds the tables.
        clickhouse_cluster: the cluster that the server belongs to, or the macro `{cluster}`: tables
            are then replicated, and made on all of it.
        clickhouse_directory: where the engine in this process keeps its data.
        clickhouse_http_password: of the user `default`, who may do anything on that engine, and
            with it what this process may; empty: none is asked for.
        clickhouse_analyst_password: of the user `analyst`, who may read; empty: none is asked for.
        clickhouse_http_host: the address on which it is served.
        clickhouse_http_port: its port; 0 takes any free one.

    """

    clickhouse_url: SecretStr | None = None  # it may hold a password
    clickhouse_database: str = Field(default="twinfeed", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
    clickhouse_cluster: str | None = Field(default=None, pattern=r"^([A-Za-z0-9_.-]+|\{\w+\})$")
    clickhouse_directory: Path = Path(".twinfeed/clickhouse")
    # these two stand before the host, whose validator looks at them
    clickhouse_http_password: SecretStr = SecretStr("")
    clickhouse_analyst_password: SecretStr = SecretStr("")
    clickhouse_http_host: str = "127.0.0.1"
    clickhouse_http_port: int = Field(default=18123, ge=0, le=65535)

    @field_validator("clickhouse_url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        parts = http_url(value.get_secret_value(), "http[s]://[user[:password]@]host[:port]")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            message = "expected nothing behind the port: the database is CLICKHOUSE_DATABASE"
            raise ValueError(message)
        check_port(parts)
        return value

    @field_validator("clickhouse_database")
    @classmethod
    def _database(cls, value: str) -> str:
        if value in {"default", "system"}:
            message = f"{value!r} is ClickHouse's own: name another database"
            raise ValueError(message)
        return value

    @field_validator("clickhouse_cluster")
    @classmethod
    def _cluster(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("clickhouse_url") is None:
            message = "expected CLICKHOUSE_URL beside it: the engine in this process is no cluster"
            raise ValueError(message)
        return value

    @field_validator("clickhouse_http_host")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError as error:
            message = f"{value!r} is not an IP address"
            raise ValueError(message) from error
        passwords = ("clickhouse_http_password", "clickhouse_analyst_password")
        missing = [name.upper() for name in passwords if not _text(info.data.get(name))]
        if missing and not address.is_loopback:
            message = f"{value} is not loopback: set {' and '.join(missing)} to serve it there"
            raise ValueError(message)
        return value


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
