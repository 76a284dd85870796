"""OpenTelemetry's variables: what they mean, and what is said of those that are wrong."""

from collections.abc import Mapping

import pytest

from infra.settings import EX_CONFIG, load
from infra.traces.settings import TraceSettings

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HERE = {ENDPOINT: "http://collector:4318"}


@pytest.fixture
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TraceSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("_clean")
@pytest.mark.parametrize(
    ("env", "endpoint"),
    [
        ({}, None),
        ({ENDPOINT: ""}, None),
        (HERE, "http://collector:4318/v1/traces"),
        ({ENDPOINT: "https://collector/otlp/"}, "https://collector/otlp/v1/traces"),
        ({**HERE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, "http://t:1/x"),
        ({**HERE, "OTEL_SDK_DISABLED": "true"}, None),
        ({**HERE, "OTEL_SDK_DISABLED": "false"}, "http://collector:4318/v1/traces"),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**HERE, "OTEL_TRACES_EXPORTER": "otlp"}, "http://collector:4318/v1/traces"),
    ],
)
def test_spans_go_where_the_variables_say(
    monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str], endpoint: str | None
) -> None:
    """Nowhere unless a collector is named; to the path for traces, unless that is named too."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert load(TraceSettings).endpoint == endpoint


@pytest.mark.usefixtures("_clean")
def test_what_is_said_of_traces_counts_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers, time, compression: a variable of traces comes before that of all signals."""
    for name, value in {
        "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }.items():
        monkeypatch.setenv(name, value)
    found = load(TraceSettings)
    assert (found.headers, found.timeout_s, found.gzip) == ({"a": "1"}, 5, True)
    for name, value in {
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer%20x, b = 2",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "250",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "none",
    }.items():
        monkeypatch.setenv(name, value)
    found = load(TraceSettings)
    assert found.headers == {"authorization": "Bearer x", "b": "2"}
    assert (found.timeout_s, found.gzip) == (0.25, False)


@pytest.mark.usefixtures("_clean")
@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        ("", "", 0.01),
        ("", "0.5", 0.5),
        ("parentbased_traceidratio", "1", 1.0),
        ("parentbased_always_on", "", 1.0),
        ("parentbased_always_off", "0.5", 0.0),
    ],
)
def test_the_sampler_says_which_share_is_traced(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, ratio: float
) -> None:
    """One in a hundred where nothing is said."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    assert load(TraceSettings).ratio == ratio


@pytest.mark.usefixtures("_clean")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (ENDPOINT, "collector:4318", "expected http://host:port or https://host:port"),
        (
            ENDPOINT,
            "http://u:secret@c",
            "expected no user and password in it: OTEL_EXPORTER_OTLP_H",
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://c", "expected http://host:port"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "gprc", "input should be 'http/protobuf' or 'grpc'"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "input should be 'http/protobuf'"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,secret", "expected name=value,name=value: part 2"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "=secret", "expected name=value,name=value: part 1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "input should be greater than 0"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon", "input should be a valid integer"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "input should be 'gzip' or 'none'"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "x", "input should be 'gzip' or 'none'"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere", "/nowhere is not a file"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/", "/ is not a file"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "input should be 'otlp' or 'none'"),
        ("OTEL_SDK_DISABLED", "perhaps", "input should be a valid boolean"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "input should be 'parentbased_traceidratio'"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "input should be less than or equal to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "input should be"),
        ("TRACES_PER_SECOND", "0", "input should be greater than 0"),
        ("TRACES_PER_SECOND", "many", "input should be a valid integer"),
        ("TRACES_PER_SECOND", "1000000000", "input should be less than or equal to 100000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "prod", "expected name=value,name=value: part 1 is none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "input should be greater than 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "input should be greater than 0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", "expected no more than OTEL_BSP_MAX_QUEUE_SIZE"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    said: str,
) -> None:
    """The process ends before it begins, with a sentence that names the variable and no secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        load(TraceSettings)
    assert left.value.code == EX_CONFIG
    error = capsys.readouterr().err
    assert error.startswith(f"{name}: {said}")
    assert error.count("\n") == 1
    assert "secret" not in error
