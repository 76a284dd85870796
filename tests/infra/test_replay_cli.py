"""`twinfeed capture` and `replay` on a real broker: what they do, and what is said of mistakes."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra import topics as declared
from infra.capture import Captured, Header, Reader
from infra.cli import app
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE
from processors.replay.__main__ import main
from tests.infra.test_cli import EX_WRONG_COMMAND, sentence, twinfeed

#: A minute of a day that is over, in ms; the span begins ten seconds in and lasts for twenty.
MINUTE_MS = 1_790_000_000_000
SINCE_MS, UNTIL_MS = MINUTE_MS + 10_000, MINUTE_MS + 30_000


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


SPAN = ("--from", _iso(SINCE_MS), "--to", _iso(UNTIL_MS))


async def _write(kafka: Broker, prefix: str) -> None:
    """Write a record a second for a minute into some topics."""
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    records = [Record(b"AAPL", b'{"n":%d}' % n, MINUTE_MS + 1_000 * n) for n in range(60)]
    for topic, partition in (
        (declared.RAW_ALPACA, 0),
        (declared.RAW_ALPACA, 3),
        (declared.RAW_YAHOO, 3),
        (declared.SOURCES_STATUS, 0),
        (declared.TRANSITIONS, 0),
        (declared.VALID, 0),
    ):
        await (await producer.send(prefix + topic.name, partition, records, topic.header))
    await producer.stop()


def _read(file: Path) -> tuple[Header, dict[tuple[str, int], list[Captured]]]:
    with file.open("rb") as content:
        reader = Reader(content)
        found: dict[tuple[str, int], list[Captured]] = {}
        for record in (record for block in reader.records() for record in block):
            found.setdefault((record.topic, record.partition), []).append(record)
    return reader.header, found


GOLDEN = Path(__file__).parent.parent / "processors" / "replay" / "faulty.capture"


@pytest.mark.service
async def test_a_span_is_captured_with_what_came_before(
    kafka: Broker, topics: str, tmp_path: Path
) -> None:
    """Ticks and facts from the lead on, transitions from the beginning, nothing that follows."""
    await _write(kafka, topics)
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}
    file = tmp_path / "span.capture"
    done = twinfeed("capture", str(file), *SPAN, "--lead", "5", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"twinfeed: 130 records in {file}, 0.0 MiB")
    header, found = _read(file)
    assert (header.prefix, header.since_ns) == (topics, SINCE_MS * 1_000_000)
    assert {place: (r[0].offset, r[-1].offset) for place, r in found.items()} == {
        ("router.transitions", 0): (0, 29),
        ("sources.status", 0): (5, 29),
        ("ticks.raw.alpaca", 0): (5, 29),
        ("ticks.raw.yahoo", 3): (5, 29),
        ("ticks.raw.alpaca", 3): (5, 29),
    }
    first = found["ticks.raw.yahoo", 3][0]
    assert first == Captured(
        *("ticks.raw.yahoo", 3, 5, MINUTE_MS + 5_000, b"AAPL", b'{"n":5}'),
        [declared.RAW_YAHOO.header],
    )
    spans = {(span.topic, span.partition): span for span in header.spans}
    taken = spans["ticks.raw.yahoo", 3]
    assert (taken.begin, taken.since, taken.until) == (5, 10, 30)
    assert list(found) == [place for place in spans if place in found], "the order of the spans"
    # it is not written over
    assert f"{file} is there already" in sentence(
        twinfeed("capture", str(file), *SPAN, env=env), EX_CANTCREAT
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "--from: expected a time such as 2026-11-25T14:30:00Z"),
        (("--from", "2026-11-25T10:00", "--to", "noon"), "--to: expected a time such as"),
        (("--from", _iso(UNTIL_MS), "--to", _iso(SINCE_MS)), "is not before"),
        (("--from", _iso(UNTIL_MS), "--to", _iso(UNTIL_MS)), "is not before"),
        (("--from", "2998-01-01"), "is not before now"),
        (("--from", "2026-01-01", "--to", "2998-01-01"), "is yet to come"),
        ((*SPAN, "--lead", "-1"), "greater than or equal to 0"),
        ((), "Missing option '--from'"),
    ],
)
def test_a_wrong_span_is_told(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Each leaves with 2, before Kafka is asked."""
    done = CliRunner().invoke(app, ["capture", str(tmp_path / "x"), *arguments])
    assert done.exit_code == EX_WRONG_COMMAND
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


@pytest.mark.service
def test_what_is_not_there_is_told(kafka: Broker, topics: str, tmp_path: Path) -> None:
    """An empty span, missing topics, no Kafka, no stack, no directory; and no file is left."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}
    file = str(tmp_path / "x")
    done = twinfeed("capture", file, *SPAN, env=env)
    assert "no raw tick stands in the log" in sentence(done, EX_UNAVAILABLE)
    done = twinfeed("capture", file, *SPAN, env={**env, "TOPIC_PREFIX": "nobody."})
    assert "topic nobody.market.sessions is not on the" in sentence(done, EX_UNAVAILABLE)
    done = twinfeed("capture", file, *SPAN, env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert "Kafka at 127.0.0.1:1 does not give the records" in sentence(done, EX_UNAVAILABLE)
    done = twinfeed(
        *("capture", file, *SPAN, "--data", str(tmp_path)), unset=("KAFKA_BOOTSTRAP_SERVERS",)
    )
    assert f"no stack is running on {tmp_path}" in sentence(done, EX_UNAVAILABLE)
    done = twinfeed("capture", str(tmp_path / "no" / "x"), *SPAN, env=env)
    assert "cannot be written: No such file or directory" in sentence(done, EX_CANTCREAT)
    done = twinfeed("capture", file, *SPAN, env={"KAFKA_BOOTSTRAP_SERVERS": "kafka"})
    assert "KAFKA_BOOTSTRAP_SERVERS: 'kafka' is not host:port" in sentence(done, EX_CONFIG)
    assert not list(tmp_path.iterdir())


async def _ends(kafka: Broker, prefix: str) -> dict[str, int]:
    found = {}
    for topic in (declared.VALID, declared.REJECTED, declared.ROUTED):
        records = [
            record
            for partition in range(topic.partitions)
            async for record in read_to_end(kafka.bootstrap_servers, prefix + topic.name, partition)
        ]
        assert all(dict(r.headers)["schema"] == topic.header[1] for r in records)
        found[topic.name] = len(records)
    return found


@pytest.mark.service
async def test_a_replay_writes_topics_of_its_own(
    kafka: Broker, topics: str, tmp_path: Path
) -> None:
    """With their prefix; once, because twice would be doubled; and its summary is its output."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": "live."}
    lines = tmp_path / "events"
    replay = ("replay", str(GOLDEN), "--into", topics)
    done = twinfeed(*replay, "--events", str(lines), env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == GOLDEN.with_suffix(".json").read_text(encoding="utf-8")
    assert re.search(r"twinfeed: \d+ records in [\d.]+ s, [\d,]+/s", done.stderr)
    kinds = json.loads(done.stdout)["kinds"]
    ends = await _ends(kafka, topics)
    assert ends == {topic: sum(kinds[topic].values()) for topic in ends}
    events = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert len(events) == sum(sum(amounts.values()) for amounts in kinds.values())
    assert {event["topic"] for event in events} == kinds.keys()
    of_symbols = [event for event in events if "symbol" in event["value"]]
    assert of_symbols
    assert all(event["key"] == event["value"]["symbol"] for event in of_symbols)
    again = twinfeed(*replay, env=env)
    assert "holds records already: choose another prefix" in sentence(again, EX_CANTCREAT)
    again = twinfeed("replay", str(GOLDEN), "--events", str(lines), env=env)
    assert f"{lines} cannot be opened: File exists" in sentence(again, EX_CANTCREAT)


@pytest.mark.service
async def test_a_span_of_the_log_is_replayed(kafka: Broker, topics: str) -> None:
    """What is in the log is captured and replayed in one; here it holds a foreign transition."""
    await _write(kafka, topics)
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}
    done = twinfeed("replay", *SPAN, env=env)
    assert "record router.transitions/0/0 cannot be read" in sentence(done, EX_DATAERR)
    done = twinfeed("replay", *SPAN, "--into", topics, env=env)
    assert "is the prefix of the live topics" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected either a FILE or --from"),
        (("x", "--from", "2026-01-01"), "expected either a FILE or --from"),
        (("x", "--to", "2026-01-01"), "--to: a FILE has its own span"),
        (("--from", "then"), "--from: expected a time such as"),
        (("x", "--into", "a b"), "--into: expected letters, digits"),
        (("x", "--into", "a" * 101), "--into: expected letters, digits"),
    ],
)
def test_a_wrong_replay_is_told(arguments: tuple[str, ...], said: str) -> None:
    """Each leaves with 2, before anything is read."""
    done = CliRunner().invoke(app, ["replay", *arguments])
    assert done.exit_code == EX_WRONG_COMMAND
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_what_is_no_capture_is_not_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is missing, foreign or cut off, by name; and no Kafka."""
    file = tmp_path / "x"
    assert main([str(file)]) == EX_CANTCREAT
    assert f"{file} cannot be opened: No such file" in capsys.readouterr().err
    file.write_bytes(b"PK")
    assert main([str(file)]) == EX_DATAERR
    assert f"twinfeed: {file}: it is no capture" in capsys.readouterr().err
    file.write_bytes(GOLDEN.read_bytes()[:-100])
    assert main([str(file)]) == EX_DATAERR
    assert f"twinfeed: {file}: it is cut off after" in capsys.readouterr().err


@pytest.mark.service
def test_a_replay_into_no_kafka_is_told() -> None:
    """As soon as it is known."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = twinfeed("replay", str(GOLDEN), "--into", "x.", env=env)
    assert "Kafka at 127.0.0.1:1 does not take the events" in sentence(done, EX_UNAVAILABLE)
