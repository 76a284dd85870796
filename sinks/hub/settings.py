"""What the hub needs to know."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from infra.redaction import SECRETS
from infra.settings import StageSettings, http_url

#: As long as what it signs: RFC 7518, 3.2.
SECRET_BYTES = 32


class HubSettings(StageSettings):
    """The settings of `python -m sinks.hub`.

    Attributes:
        hub_jwt_secret: what tokens of users are signed with (HS256); every hub has the same.
        hub_jwt_secret_file: the same from a file; the variable counts for more.
        hub_jwt_audience: whom such a token must be meant for; empty for anyone.
        hub_anonymous: whether prices go to whoever asks, without a token. The licences of both
            vendors forbid handing prices on to others.
        hub_origins: the origins, separated by commas, whose pages may connect, besides our own.
        hub_host: the address that clients connect to.
        hub_port: its port; 0 takes any free one.
        hub_max_clients: how many may be connected at a time.
        prometheus_url: where the service levels are asked for; it may hold a password.

    """

    hub_jwt_secret: SecretStr | None = None
    hub_jwt_secret_file: Path | None = None
    hub_jwt_audience: str = ""
    hub_anonymous: bool = Field(default=False, validate_default=True)
    hub_origins: str = ""
    hub_host: str = "127.0.0.1"
    hub_port: int = Field(default=18080, ge=0, le=65535)
    hub_max_clients: int = Field(default=2000, ge=1, le=100_000)
    prometheus_url: SecretStr | None = None

    @field_validator("hub_jwt_secret")
    @classmethod
    def _secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < SECRET_BYTES:
            message = f"expected at least {SECRET_BYTES} bytes"
            raise ValueError(message)
        return value

    @field_validator("hub_jwt_secret_file")
    @classmethod
    def _secret_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                long = len(value.read_text().strip().encode()) >= SECRET_BYTES
            except (OSError, UnicodeDecodeError) as error:
                message = f"{value} cannot be read: {getattr(error, 'strerror', None) or error}"
                raise ValueError(message) from error
            if not long:
                message = f"{value}: expected at least {SECRET_BYTES} bytes"
                raise ValueError(message)
        return value

    @field_validator("hub_anonymous")
    @classmethod
    def _somebody_may_come(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        # a secret that is wrong has its own sentence, and is not in the data
        found = [info.data.get(f"hub_jwt_{name}", "wrong") for name in ("secret", "secret_file")]
        if not value and found == [None, None]:
            message = "nobody could connect: set HUB_JWT_SECRET, or HUB_ANONYMOUS=true"
            raise ValueError(message)
        return value

    @field_validator("hub_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in filter(None, (each.strip() for each in value.split(","))):
            parts = urlsplit(origin)
            rest = parts._replace(scheme="", netloc="").geturl()
            if parts.scheme not in {"http", "https"} or not parts.hostname or rest:
                message = f"{origin!r} is not an origin: expected http[s]://host[:port]"
                raise ValueError(message)
        return value

    @field_validator("prometheus_url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            http_url(value.get_secret_value(), "http://host:port or https://host:port")
        return value

    @field_validator("hub_host")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError as error:
            message = f"{value!r} is not an IP address"
            raise ValueError(message) from error
        return value

    def secret(self) -> str | None:
        """Return what tokens are signed with; None where there are none."""
        if self.hub_jwt_secret is not None:
            return self.hub_jwt_secret.get_secret_value()
        file = self.hub_jwt_secret_file
        if file is None:
            return None
        secret = file.read_text().strip()
        SECRETS.add(secret)
        return secret

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may connect, besides our own."""
        return frozenset(filter(None, (each.strip() for each in self.hub_origins.split(","))))
