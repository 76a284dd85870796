"""What is generated: the contracts of the topics (JSON Schemas, AsyncAPI 3), and what watches.

    python -m tests.contracts.generate           write all of it
    python -m tests.contracts.generate --check   fail where what is checked in differs

It stands with the tests because it knows every stage, which nothing below the sinks may.
"""

import argparse
import importlib
import inspect
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import yaml

from infra.market_calendar import SESSIONS_FILE
from infra.topics import DAY_MS, TOPICS, TRACED, Topic
from infra.traces.span import HEADER
from tests.contracts import market_sessions, monitoring, router_page

DOCS = Path(__file__).parent.parent.parent / "docs" / "topics"


def event_type(topic: Topic) -> Any:
    """Return the type, or the union of types, of a topic's events."""
    module, _, name = topic.schema.partition(":")
    return getattr(importlib.import_module(module), name)


def json_schema(topic: Topic) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a topic's values."""
    kind = event_type(topic)
    schema = msgspec.json.schema(kind, ref_template="#/$defs/{name}")
    for struct in members(kind):
        _describe(struct, schema["$defs"][struct.__name__])
    _, _, name = topic.schema.partition(":")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:twinfeed:{name}:{topic.version}",
        "title": name,
        **schema,
    }


def members(kind: Any) -> tuple[type[msgspec.Struct], ...]:
    """Return the event types of a union, or the one type."""
    if isinstance(kind, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _describe(struct: type[msgspec.Struct], schema: dict[str, Any]) -> None:
    """Move each field's sentence from the class's docstring to the field."""
    text = inspect.cleandoc(struct.__doc__ or "")
    summary, _, listed = text.partition("\nAttributes:\n")
    schema["description"] = " ".join(summary.split())
    for names, sentence in attributes(listed):
        for name in names.split(", "):
            if name not in schema["properties"]:
                message = f"{struct.__name__} has no field {name!r}, but its docstring has"
                raise ValueError(message)
            schema["properties"][name]["description"] = sentence
    for name, field in schema["properties"].items():
        if name.endswith("_ns"):
            field.setdefault("description", "Nanoseconds since the epoch, UTC.")


def attributes(text: str) -> list[tuple[str, str]]:
    """Return the names and the sentences of a docstring's section of attributes."""
    entries: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            entries.append([line.strip()])
        elif line.strip() and entries:
            entries[-1].append(line.strip())
    pairs = (" ".join(entry).partition(": ") for entry in entries)
    return [(name, sentence) for name, _, sentence in pairs]


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document of all topics, from a consumer's point of view."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "twinfeed",
            "version": "1",
            "description": (
                "Market data of two sources, checked, compared and routed, on Apache Kafka. "
                "Values are JSON, one event a record; the `schema` header names type and version. "
                "Times are integers, nanoseconds since the epoch, UTC: beyond what a JavaScript "
                "number holds exactly. Delivery is at least once; an event's identity is the place "
                "of its raw tick (`raw_topic`, `raw_partition`, `raw_offset`)."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {f"read.{topic.name}": _operation(topic) for topic in TOPICS},
    }


_TRACEPARENT = {
    "type": "string",
    "description": "W3C Trace Context: the span that wrote it; on records that are traced alone",
    "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$",
}


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "summary": topic.summary,
        "messages": {
            topic.schema.partition(":")[2]: {
                "name": topic.schema.partition(":")[2],
                "headers": {
                    "type": "object",
                    "properties": {
                        topic.header[0]: {"type": "string", "const": topic.header[1].decode()},
                        **({HEADER: _TRACEPARENT} if topic in TRACED else {}),
                    },
                },
                "payload": {
                    "schemaFormat": "application/schema+json;version=draft-2020-12",
                    "schema": {"$ref": f"./{topic.name}.schema.json"},
                },
                "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
            }
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    "retention.ms": topic.retention_ms,
                },
            }
        },
    }


def _operation(topic: Topic) -> dict[str, Any]:
    channel = topic.name.replace("/", "~1")
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"Read what the {topic.writer} stage writes.",
    }


def table() -> str:
    """Return the topics as a Markdown page."""
    lines = [
        "# Topics",
        "",
        "Generated from `infra/topics.py` by `make generate`. `asyncapi.yaml` beside this page",
        "says the same to machines, and `<topic>.schema.json` what a value looks like.",
        "",
        "| topic | key | partitions | kept | written by | content |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| [`{t.name}`]({t.name}.schema.json) | {t.key} | {t.partitions} | {_kept(t)} "
        f"| {t.writer} | {t.summary} |"
        for t in TOPICS
    ]
    return "\n".join(lines) + "\n"


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "the latest a key"
    days = topic.retention_ms // DAY_MS
    return "for ever" if topic.retention_ms < 0 else f"{days} days"


def documents() -> dict[str, str]:
    """Return every generated file, by name."""
    files = {
        f"{topic.name}.schema.json": json.dumps(json_schema(topic), indent=2) + "\n"
        for topic in TOPICS
    }
    files["asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, width=100)
    files["README.md"] = table()
    return files


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what in `new` would break a reader of `old`; both are JSON Schemas of one topic.

    A reader ignores what it does not know: new fields, event types and enumerated words are no
    break. Whatever it may rely on must stay: fields, their types, and that they are always there.
    """
    if old["$id"] != new["$id"]:
        return []  # a new version says so itself
    found = []
    for struct, before in old["$defs"].items():
        after = new["$defs"].get(struct)
        if after is None:
            found.append(f"{struct} is gone")
            continue
        for name, was in before["properties"].items():
            now = after["properties"].get(name)
            if now is None:
                found.append(f"{struct}.{name} is gone")
            elif not _accepts(was, now):
                found.append(f"{struct}.{name} has another type")
            elif name in before.get("required", ()) and name not in after.get("required", ()):
                found.append(f"{struct}.{name} may be missing now")
    return found


def _accepts(was: dict[str, Any], now: dict[str, Any]) -> bool:
    if "enum" in was and "enum" in now:
        return set(was["enum"]) <= set(now["enum"])
    ignored = {"description", "default"}
    return {k: v for k, v in was.items() if k not in ignored} == {
        k: v for k, v in now.items() if k not in ignored
    }


def main(arguments: list[str]) -> int:
    """Write the documents, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args(arguments).check
    wanted = documents()
    present = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.*")}
    calendar = market_sessions.document()
    outdated = not SESSIONS_FILE.exists() or SESSIONS_FILE.read_text(encoding="utf-8") != calendar
    pages = {**monitoring.documents(), router_page.PAGE: router_page.document()}
    others = [
        path
        for path, text in pages.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    differing = sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    )
    if check:
        for name in differing:
            sentence = f"docs/topics/{name} differs from the code: run `make generate`"
            print(sentence, file=sys.stderr)  # noqa: T201
        for path in others:
            where = path.relative_to(monitoring.ROOT)
            print(f"{where} differs from the code: run `make generate`", file=sys.stderr)  # noqa: T201
        if outdated:
            print(f"{SESSIONS_FILE.name} is out of date: run `make generate`", file=sys.stderr)  # noqa: T201
        return int(bool(differing or others) or outdated)
    broken = [
        f"{name}: {sentence}"
        for name in differing
        if name.endswith(".json") and name in wanted and name in present
        for sentence in breaks(json.loads(present[name]), json.loads(wanted[name]))
    ]
    if broken:
        print(*broken, sep="\n", file=sys.stderr)  # noqa: T201
        print("raise the topic's `version`: readers rely on this one", file=sys.stderr)  # noqa: T201
        return 1
    SESSIONS_FILE.write_text(calendar, encoding="utf-8")
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[path], encoding="utf-8")
    DOCS.mkdir(parents=True, exist_ok=True)
    for name in differing:
        if name in wanted:
            (DOCS / name).write_text(wanted[name], encoding="utf-8")
        else:
            (DOCS / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
