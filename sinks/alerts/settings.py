"""What the history of alerts needs to know."""

import ipaddress
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from infra.settings import StageSettings


class AlertsSettings(StageSettings):
    """The settings of `python -m sinks.alerts`.

    Attributes:
        alerts_token: what Alertmanager has to show; none is asked for on loopback where it is
            empty.
        alerts_pagerduty_secrets: what PagerDuty signs its webhooks with; several, separated by
            commas, while one is replaced. Without one its notices are refused.
        alerts_host: the address that both reach.
        alerts_port: its port; 0 takes any free one.
        alerts_alertmanager_url: where Alertmanager is; it is asked there what it mutes, which it
            tells nobody. Where empty, what is muted is not in the history.

    """

    alerts_token: SecretStr | None = None  # stands before the host, whose validator looks at it
    alerts_pagerduty_secrets: SecretStr | None = None
    alerts_host: str = "127.0.0.1"
    alerts_port: int = Field(default=19210, ge=0, le=65535)
    alerts_alertmanager_url: str | None = None

    @field_validator("alerts_host")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError as error:
            message = f"{value!r} is not an IP address"
            raise ValueError(message) from error
        if not address.is_loopback and not info.data.get("alerts_token"):
            message = f"{value} is not loopback: set ALERTS_TOKEN, or anybody could write history"
            raise ValueError(message)
        return value

    @field_validator("alerts_alertmanager_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not urlsplit(value).hostname:
            message = f"{value!r} is not a URL"
            raise ValueError(message)
        return value and value.rstrip("/")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that PagerDuty may sign with."""
        if self.alerts_pagerduty_secrets is None:
            return ()
        given = self.alerts_pagerduty_secrets.get_secret_value().split(",")
        return tuple(secret.strip() for secret in given if secret.strip())
