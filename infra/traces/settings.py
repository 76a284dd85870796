"""Whether and where spans go: OpenTelemetry's own variables, as its specification has them.

Only what is understood here is taken. What is not is refused by its name, and not passed over: a
protocol that is spelt wrongly would else be a collector that waits for ever.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.settings import http_url

#: What is appended to the endpoint of all signals; that of traces alone is taken as it is.
TRACES_PATH = "v1/traces"

Protocol = Literal["http/protobuf", "grpc"]
Sampler = Literal["parentbased_traceidratio", "parentbased_always_on", "parentbased_always_off"]


class TraceSettings(BaseSettings):
    """What OpenTelemetry's variables say.

    Attributes:
        otel_exporter_otlp_endpoint: the collector, `http://host:4318`; nothing is traced without.
        otel_exporter_otlp_traces_endpoint: the same for traces alone, with its path.
        otel_exporter_otlp_protocol: `http/protobuf` or `grpc`.
        otel_exporter_otlp_headers: `name=value,...`, sent along; for a token.
        otel_exporter_otlp_timeout: how long a batch may take, in milliseconds.
        otel_exporter_otlp_compression: `gzip` or `none`.
        otel_exporter_otlp_certificate: PEM of the authorities that vouch for the collector.
        otel_traces_exporter: `otlp`, or `none` for no traces.
        otel_sdk_disabled: whether nothing is traced, whatever else is set.
        otel_traces_sampler: how it is decided which ticks are traced.
        otel_traces_sampler_arg: which share of them, 0 to 1.
        traces_per_second: how many of those each ingest process traces at most; ours.
        otel_service_name: the service's name, in place of the stage's.
        otel_resource_attributes: `name=value,...`, told of the process with every span.
        otel_bsp_schedule_delay: how long spans wait for others, in milliseconds.
        otel_bsp_max_queue_size: how many wait at most; what comes then is dropped, and counted.
        otel_bsp_max_export_batch_size: how many are sent at once.

    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    otel_exporter_otlp_endpoint: str | None = None
    otel_exporter_otlp_traces_endpoint: str | None = None
    otel_exporter_otlp_protocol: Protocol = "http/protobuf"
    otel_exporter_otlp_traces_protocol: Protocol | None = None
    otel_exporter_otlp_headers: SecretStr = SecretStr("")
    otel_exporter_otlp_traces_headers: SecretStr = SecretStr("")
    otel_exporter_otlp_timeout: int = Field(default=10_000, gt=0)
    otel_exporter_otlp_traces_timeout: int | None = Field(default=None, gt=0)
    otel_exporter_otlp_compression: Literal["gzip", "none"] = "none"
    otel_exporter_otlp_traces_compression: Literal["gzip", "none"] | None = None
    otel_exporter_otlp_certificate: Path | None = None
    otel_exporter_otlp_traces_certificate: Path | None = None
    otel_traces_exporter: Literal["otlp", "none"] = "otlp"
    otel_sdk_disabled: bool = False
    otel_traces_sampler: Sampler = "parentbased_traceidratio"
    otel_traces_sampler_arg: float = Field(default=0.01, ge=0, le=1)
    traces_per_second: int = Field(default=20, gt=0, le=100_000)
    otel_service_name: str = ""
    otel_resource_attributes: str = ""
    otel_bsp_schedule_delay: int = Field(default=5_000, gt=0)
    otel_bsp_max_queue_size: int = Field(default=2_048, gt=0)
    otel_bsp_max_export_batch_size: int = Field(default=512, gt=0)

    @field_validator("otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = http_url(value, "http://host:port or https://host:port")
            if "@" in parts.netloc:
                message = (
                    "expected no user and password in it: OTEL_EXPORTER_OTLP_HEADERS is for those"
                )
                raise ValueError(message)
        return value

    @field_validator("otel_exporter_otlp_headers", "otel_exporter_otlp_traces_headers")
    @classmethod
    def _headers(cls, value: SecretStr) -> SecretStr:
        pairs(value.get_secret_value())
        return value

    @field_validator("otel_resource_attributes")
    @classmethod
    def _attributes(cls, value: str) -> str:
        pairs(value)
        return value

    @field_validator("otel_exporter_otlp_certificate", "otel_exporter_otlp_traces_certificate")
    @classmethod
    def _file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            message = f"{value} is not a file"
            raise ValueError(message)
        return value

    @field_validator("otel_bsp_max_export_batch_size")
    @classmethod
    def _batch(cls, value: int, info: ValidationInfo) -> int:
        room = info.data.get("otel_bsp_max_queue_size", value)
        if value > room:
            message = f"expected no more than OTEL_BSP_MAX_QUEUE_SIZE, {room}"
            raise ValueError(message)
        return value

    @property
    def endpoint(self) -> str | None:
        """Where spans are posted; None where nothing is traced."""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return None
        if self.otel_exporter_otlp_traces_endpoint is not None:
            return self.otel_exporter_otlp_traces_endpoint
        if self.otel_exporter_otlp_endpoint is not None:
            if self.grpc:
                return self.otel_exporter_otlp_endpoint
            return f"{self.otel_exporter_otlp_endpoint.rstrip('/')}/{TRACES_PATH}"
        return None

    @property
    def grpc(self) -> bool:
        """Whether spans are sent by gRPC."""
        own = self.otel_exporter_otlp_traces_protocol
        return (own or self.otel_exporter_otlp_protocol) == "grpc"

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent along with every batch; secret."""
        own = self.otel_exporter_otlp_traces_headers.get_secret_value()
        return pairs(own or self.otel_exporter_otlp_headers.get_secret_value())

    @property
    def timeout_s(self) -> float:
        """How long a batch may take."""
        return (self.otel_exporter_otlp_traces_timeout or self.otel_exporter_otlp_timeout) / 1000

    @property
    def gzip(self) -> bool:
        """Whether batches are compressed."""
        own = self.otel_exporter_otlp_traces_compression
        return (own or self.otel_exporter_otlp_compression) == "gzip"

    @property
    def certificate(self) -> Path | None:
        """Who vouches for the collector; None for whom the system trusts."""
        return self.otel_exporter_otlp_traces_certificate or self.otel_exporter_otlp_certificate

    @property
    def ratio(self) -> float:
        """Which share of ticks is traced from their receipt on."""
        match self.otel_traces_sampler:
            case "parentbased_always_on":
                return 1.0
            case "parentbased_always_off":
                return 0.0
            case "parentbased_traceidratio":
                return self.otel_traces_sampler_arg

    @property
    def sampled_per_second(self) -> int | None:
        """How many of those a process traces a second, at most; None where all are wanted."""
        always = self.otel_traces_sampler == "parentbased_always_on"
        return None if always else self.traces_per_second


def pairs(text: str) -> Mapping[str, str]:
    """Return `name=value,...`, percent-decoded. Raises ValueError, which does not repeat it."""
    found = {}
    for number, part in enumerate(text.split(","), 1):
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            message = f"expected name=value,name=value: part {number} is none"
            raise ValueError(message)
        found[unquote(name.strip())] = unquote(value.strip())
    return found
