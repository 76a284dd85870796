"""What the log shipper needs to know."""

from base64 import b64encode
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from infra.settings import StageSettings, check_port, http_url
from infra.sql_http import Address
from sinks.logs.clickhouse import ClickHouse
from sinks.logs.loki import Loki


class LogsSettings(StageSettings):
    """The settings of `python -m sinks.logs`.

    Attributes:
        logs_directory: where the output of the processes is, `NAME.log` and `NAME.log.1`.
        logs_positions: the directory that keeps how far each backend has come.
        clickhouse_url: `http[s]://[user[:password]@]host[:port]`; empty: not to ClickHouse.
        clickhouse_database: the database that has the table `logs`.
        clickhouse_http_password: of the user `default` of the engine in the sink, where the address
            names no user.
        loki_url: `http[s]://[user[:password]@]host[:port][/path]`; empty: not to Loki.
        loki_tenant: the tenant, where Loki has several.
        log_environment: Loki's label `environment`.

    """

    logs_directory: Path = Path(".twinfeed/logs")
    logs_positions: Path = Path(".twinfeed/log-positions")
    clickhouse_url: SecretStr | None = None  # it may hold a password
    clickhouse_database: str = Field(default="twinfeed", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
    clickhouse_http_password: SecretStr = SecretStr("")
    loki_url: SecretStr | None = None  # as above
    loki_tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9!._*'()-]{1,150}$")
    log_environment: str = Field(default="local", pattern=r"^[A-Za-z0-9_.-]{1,64}$")

    @field_validator("clickhouse_url", "loki_url")
    @classmethod
    def _url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        parts = http_url(value.get_secret_value(), "http[s]://[user[:password]@]host[:port]")
        if parts.query or parts.fragment:
            message = "expected neither ? nor # in it"
            raise ValueError(message)
        if info.field_name == "clickhouse_url" and parts.path not in {"", "/"}:
            message = "expected nothing behind the port: the database is CLICKHOUSE_DATABASE"
            raise ValueError(message)
        check_port(parts)
        return value

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.clickhouse_url is None and self.loki_url is None:
            message = "expected CLICKHOUSE_URL or LOKI_URL: there is nowhere to ship logs to"
            raise ValueError(message)
        return self

    @property
    def backends(self) -> tuple[ClickHouse | Loki, ...]:
        """Where the lines go."""
        found: list[ClickHouse | Loki] = []
        if self.clickhouse_url is not None:
            given = self.clickhouse_url.get_secret_value()
            address = Address.of(given, self.clickhouse_database)
            own = self.clickhouse_http_password.get_secret_value()
            headers = {
                "X-ClickHouse-User": address.user,
                "X-ClickHouse-Key": address.password if urlsplit(given).username else own,
            }
            found.append(ClickHouse(url=address.url, database=address.database, headers=headers))
        if self.loki_url is not None:
            url, user, password = _parts(self.loki_url)
            headers = {"X-Scope-OrgID": self.loki_tenant} if self.loki_tenant else {}
            if user:
                basic = b64encode(f"{user}:{password}".encode()).decode()
                headers["Authorization"] = f"Basic {basic}"
            found.append(Loki(url=url, environment=self.log_environment, headers=headers))
        return tuple(found)


def _parts(secret: SecretStr) -> tuple[str, str, str]:
    """Return an address without its user and password, the user, and the password."""
    parts = urlsplit(secret.get_secret_value())
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return bare, unquote(parts.username or ""), unquote(parts.password or "")
