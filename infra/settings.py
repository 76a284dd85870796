"""How a stage reads its settings: once, from the environment, with a sentence for each mistake.

A stage subclasses `StageSettings`, and its `__main__` calls `load`. A setting exists only where two
deployments differ; the rest are constants beside their use.
"""

import os
import sys
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.redaction import SECRETS

#: Exit codes, as sysexits.h names them, so that a supervisor can tell a mistake from a mishap.
EX_USAGE = os.EX_USAGE  # 64: the command line was wrong
EX_DATAERR = os.EX_DATAERR  # 65: what we were given cannot be read
EX_UNAVAILABLE = os.EX_UNAVAILABLE  # 69: something this needs is not there (Java, a server)
EX_SOFTWARE = os.EX_SOFTWARE  # 70: our own fault
EX_CANTCREAT = os.EX_CANTCREAT  # 73: a port, file or directory cannot be had
EX_CONFIG = os.EX_CONFIG  # 78: a setting is wrong


PORTS = range(1, 65536)


class StageSettings(BaseSettings):
    """What every stage needs to know.

    Attributes:
        kafka_bootstrap_servers: `host:port[,host:port...]` of the Kafka cluster.
        topic_prefix: put before every topic's name, so that several pipelines share one cluster.
        metrics_host: the address that `/metrics` and `/ready` listen on; loopback unless opened,
            and opened only with a token or a user.
        metrics_port: their port; 0 takes any free one.
        metrics_token: what whoever asks for `/metrics` has to show; none is asked for where empty.
        metrics_token_file: the same from a file; the variable counts for more.
        metrics_user: who may ask by name and password instead.
        metrics_password: that user's.
        metrics_password_file: the same from a file; the variable counts for more.
        metrics_tls_certificate_file: PEM of the certificate, and of those between it and its root,
            to serve HTTPS with; plain HTTP where empty.
        metrics_tls_key_file: PEM of its private key, without a passphrase.
        log_level: the least level that is logged.

    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$", max_length=100)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    metrics_token: SecretStr | None = None
    metrics_token_file: Path | None = None
    metrics_user: str | None = None
    metrics_password: SecretStr | None = None
    metrics_password_file: Path | None = None
    metrics_tls_certificate_file: Path | None = None
    metrics_tls_key_file: Path | None = None
    log_level: str = Field(default="INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        for server in value.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit() or int(port) not in PORTS:
                message = f"{server.strip()!r} is not host:port"
                raise ValueError(message)
        return value

    def topic(self, name: str) -> str:
        """Return a declared topic's name on this deployment's broker."""
        return self.topic_prefix + name


S = TypeVar("S", bound=BaseSettings)


def http_url(text: str, expected: str) -> SplitResult:
    """Return the parts of a server's address.

    Args:
        text: the address.
        expected: how one looks, for the message; the address is not repeated, as it may hold a
            password.

    Raises:
        ValueError: it is none.

    """
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = f"expected {expected}"
        raise ValueError(message)
    return parts


def check_port(parts: SplitResult) -> None:
    """Raise ValueError where the port in an address is no port."""
    try:
        _ = parts.port
    except ValueError as error:
        message = "the port is not a number from 0 to 65535"
        raise ValueError(message) from error


def load(settings: type[S]) -> S:
    """Read `settings` from the environment, or leave with `EX_CONFIG` and a sentence a mistake.

    What is secret in them is in no line that is logged from then on.
    """
    try:
        found = settings()
    except ValidationError as error:
        for mistake in describe(error):
            print(mistake, file=sys.stderr)  # noqa: T201  # logging is not up before its settings are
        sys.exit(EX_CONFIG)
    for _, value in found:
        if isinstance(value, SecretStr):
            SECRETS.add(value.get_secret_value())
    return found


def describe(error: ValidationError) -> list[str]:
    """Turn pydantic's findings into sentences that name the variable and tell no secret."""
    sentences = []
    for finding in error.errors():
        variable = "_".join(str(part) for part in finding["loc"][:1]).upper() or "settings"
        reason = finding["msg"].removeprefix("Value error, ")
        sentences.append(f"{variable}: {reason[0].lower()}{reason[1:]}")
    return sentences
