"""The contracts are what the code says, and they do not change under their readers."""

import copy
import json
from typing import Any

import jsonschema
import msgspec
import pytest

from infra.topics import SOURCES_STATUS, TOPICS, TRANSITIONS, VALID, Topic
from ingest.events import Heartbeat
from processors.events import RouterTransition
from tests.contracts import generate


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_has_a_valid_schema(topic: Topic) -> None:
    """Each declared topic names an event type that yields a valid JSON Schema."""
    jsonschema.Draft202012Validator.check_schema(generate.json_schema(topic))


def test_an_event_fits_its_schema() -> None:
    """What the encoder writes is what the schema promises."""
    event = Heartbeat(
        source="yahoo",
        feed="spark",
        session_id="s",
        at_ns=1,
        state="connected",
        authenticated=True,
        symbols=30,
        messages=0,
    )
    jsonschema.validate(
        json.loads(msgspec.json.encode(event)), generate.json_schema(SOURCES_STATUS)
    )


def test_a_schema_refuses_what_is_no_event() -> None:
    """A transition without its epoch does not fit."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"from_state": "STARTUP"}, generate.json_schema(TRANSITIONS))


def test_every_field_in_a_docstring_exists() -> None:
    """A docstring that describes a field which is not there is refused."""

    class Wrong(msgspec.Struct):
        """Something.

        Attributes:
            nothing: not there.

        """

        something: int

    with pytest.raises(ValueError, match="no field 'nothing'"):
        generate._describe(Wrong, msgspec.json.schema(Wrong)["$defs"]["Wrong"])


def _without(name: str) -> dict[str, Any]:
    schema = generate.json_schema(TRANSITIONS)
    del schema["$defs"]["RouterTransition"]["properties"][name]
    return schema


def _changed(name: str, **keywords: Any) -> dict[str, Any]:
    schema = copy.deepcopy(generate.json_schema(TRANSITIONS))
    schema["$defs"]["RouterTransition"]["properties"][name] = keywords
    return schema


def _optional(name: str) -> dict[str, Any]:
    schema = copy.deepcopy(generate.json_schema(TRANSITIONS))
    schema["$defs"]["RouterTransition"]["required"].remove(name)
    return schema


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (_without("epoch"), "RouterTransition.epoch is gone"),
        (_changed("epoch", type="string"), "RouterTransition.epoch has another type"),
        (
            _changed("to_state", enum=["PRIMARY_ACTIVE"]),
            "RouterTransition.to_state has another type",
        ),
        (_optional("epoch"), "RouterTransition.epoch may be missing now"),
    ],
)
def test_a_change_that_breaks_readers_is_found(changed: dict[str, Any], sentence: str) -> None:
    """Fields, types and presence that readers rely on cannot go under the same version."""
    assert generate.breaks(generate.json_schema(TRANSITIONS), changed) == [sentence]


def test_a_lost_event_type_is_found() -> None:
    """A kind of tick cannot vanish from the union."""
    changed = copy.deepcopy(generate.json_schema(VALID))
    del changed["$defs"]["Luld"]
    assert generate.breaks(generate.json_schema(VALID), changed) == ["Luld is gone"]


def test_an_addition_breaks_nobody() -> None:
    """A new field, and a new word, are no break."""
    changed = _changed(
        "reason", enum=[*_reasons(), "weather"], description="other words for the same"
    )
    changed["$defs"]["RouterTransition"]["properties"]["weather"] = {"type": "string"}
    assert generate.breaks(generate.json_schema(TRANSITIONS), changed) == []


def test_a_new_version_may_change_everything() -> None:
    """With a new version readers know."""
    changed = _without("epoch")
    changed["$id"] = "urn:twinfeed:RouterTransition:2"
    assert generate.breaks(generate.json_schema(TRANSITIONS), changed) == []


def _reasons() -> list[str]:
    schema = msgspec.json.schema(RouterTransition)
    reasons: list[str] = schema["$defs"]["RouterTransition"]["properties"]["reason"]["enum"]
    return reasons
