"""What the local stack reads from the environment: where parts run elsewhere, and the keys."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from infra.settings import StageSettings


class StackEnvironment(StageSettings):
    """Which parts are elsewhere; what is not named is run here.

    Attributes:
        clickhouse_url: a ClickHouse server, `http://user:password@host:8123`.
        clickhouse_database: where the sink writes.
        prometheus_url: a Prometheus that scrapes the stages itself.
        alertmanager_url: an Alertmanager that alerts are sent to.
        alpaca_api_key_id: with the secret key: the real vendors instead of the simulators.
        alpaca_api_secret_key: the other half.
        alpaca_api_key_id_file: the same by files, one each.
        alpaca_api_secret_key_file: the other half.
        alpaca_keys_file: the same by one file.

    """

    clickhouse_url: SecretStr | None = None
    clickhouse_database: str = Field(default="twinfeed", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    prometheus_url: str | None = None
    alertmanager_url: str | None = None
    alpaca_api_key_id: SecretStr | None = None
    alpaca_api_secret_key: SecretStr | None = None
    alpaca_api_key_id_file: str | None = None
    alpaca_api_secret_key_file: str | None = None
    alpaca_keys_file: str | None = None

    @field_validator("clickhouse_url", "prometheus_url", "alertmanager_url")
    @classmethod
    def _url(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        url = value.get_secret_value() if isinstance(value, SecretStr) else value
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                # not repeated: it may hold a password
                message = "expected http://host:port or https://host:port"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if (self.alpaca_api_key_id is None) != (self.alpaca_api_secret_key is None):
            message = (
                "one of ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY is missing: give both for the "
                "real market, or neither for the simulated one"
            )
            raise ValueError(message)
        return self

    @property
    def live(self) -> bool:
        """Whether the real vendors are used."""
        ways = (self.alpaca_api_key_id, self.alpaca_api_key_id_file, self.alpaca_keys_file)
        return any(way is not None for way in ways)

    @property
    def kafka_elsewhere(self) -> str | None:
        """The Kafka that was named, or None where none was."""
        named = "kafka_bootstrap_servers" in self.model_fields_set
        return self.kafka_bootstrap_servers if named else None
