"""Whoever is woken finds the right page, and on it nothing that does not exist."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer import BadParameter
from typer.main import get_command

from infra.cli import app
from infra.prometheus.alerts import ALERTS, Alert
from infra.prometheus.config import JOBS
from infra.prometheus.rules import files
from infra.prometheus.runbooks import OTHERS, runbook
from infra.prometheus.runbooks import PAGES as PAGES_OF
from infra.slo.levels import LEVELS
from sinks.hub.operations import OPERATIONS
from tests.contracts.promql import Linter, catalogue
from tests.contracts.runbooks import (
    DIRECTORY,
    PAGES,
    ROOT,
    Block,
    anchor,
    asked,
    blocks,
    commands,
    difference,
    headings,
    links,
    prose,
)

#: What a wrong command line is told by.
UsageError = BadParameter.__mro__[1]

NAMES = {*(alert.name for alert in ALERTS), *(level.alert for level in LEVELS)}
#: What a page may run besides `twinfeed`.
PROGRAMS = {"twinfeed", "curl", "export", "awk", "mv", "umask", "cat", "python3", "time", "date"}
#: Which sections every page of a kind has, in this order.
SECTIONS = {
    "RUNBOOK": (
        "In an emergency",
        "Meaning",
        "Impact",
        "Diagnosis",
        "Mitigation",
        "Verification",
        "Communication",
        "Escalation",
    ),
    "GUIDE": ("In an emergency", "Escalation"),
    "TASK": ("In an emergency", "Verification", "Communication", "Escalation"),
}
#: The longest line of a page, and the most lines of one: who reads it has just woken up.
LINES = 190


def _commands() -> list[tuple[Block, list[str]]]:
    return [
        (block, words)
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh"
        for words in commands(block)
    ]


def _recorded() -> dict[str, Any]:
    """Return what expressions may speak of: the catalogue, and what rules record of it."""
    known = catalogue()
    waiting = [
        rule
        for content in files().values()
        for group in content["groups"]
        for rule in group["rules"]
        if "record" in rule
    ]
    for _ in range(3):  # what a rule reads, another may record
        for rule in waiting:
            linter = Linter(known)
            labels = linter.lint(rule["expr"])
            if not linter.findings:
                own = {name: frozenset({value}) for name, value in rule.get("labels", {}).items()}
                before = known.get(rule["record"], {})
                merged = {**labels, **own}
                for name, values in before.items():
                    other = merged.get(name, frozenset())
                    merged[name] = None if values is None or other is None else values | other
                known[rule["record"]] = merged
    return known


def test_every_alert_leads_to_its_own_heading() -> None:
    """And no page has words about an alert that does not exist."""
    there = {
        f"docs/runbooks/{page.name}#{anchor(words)}": words
        for page in DIRECTORY.glob("*.md")
        for level, words in headings(page)
        if level == 2 and re.fullmatch(r"(?:[A-Z]+[a-z]+){2,}|Watchdog|\w*SLO\w*", words)
    }
    assert there == {runbook(name): name for name in NAMES}


def test_the_table_of_pages_names_alerts_that_exist() -> None:
    """Each once; all others are on the page of others."""
    named = [alert for alerts in PAGES_OF.values() for alert in alerts]
    assert len(named) == len(set(named))
    assert set(named) <= NAMES
    assert runbook("AnythingElse") == f"docs/runbooks/{OTHERS}.md#anythingelse"


def test_what_prometheus_sends_is_that_link() -> None:
    """In every rule that alerts."""
    for content in files().values():
        for group in content["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    assert rule["annotations"]["runbook_url"] == runbook(rule["alert"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file, and to a heading in it."""
    for link in links(page):
        name, _, wanted = link.partition("#")
        to = (page.parent / name).resolve() if name else page
        assert to.exists(), link
        if wanted:
            assert wanted in {anchor(words) for _, words in headings(to)}, link


@pytest.mark.parametrize("page", sorted(DIRECTORY.glob("*-0*.md")), ids=lambda page: page.stem)
def test_every_page_has_its_sections_and_is_short(page: Path) -> None:
    """The emergency first; whoever reads on knows where to look."""
    kind = page.stem.partition("-")[0]
    found = [words for level, words in headings(page) if level == 2]
    assert [words for words in found if words in SECTIONS[kind]] == list(SECTIONS[kind])
    own = [words for words in found if words not in NAMES]
    assert own[0] == "In an emergency"
    assert page.read_text("utf-8").count("\n") <= LINES
    assert f"[{page.stem}]({page.name})" in (DIRECTORY / "README.md").read_text("utf-8")


def test_every_other_alert_says_first_what_to_do() -> None:
    """Or that nothing is to be done."""
    sections = re.split(r"^## ", prose(DIRECTORY / f"{OTHERS}.md"), flags=re.MULTILINE)[1:]
    assert len(sections) == len(NAMES) - sum(len(alerts) for alerts in PAGES_OF.values())
    for section in sections:
        assert re.search(r"\*\*Now|nothing to do|in office hours", section), section


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.id)
def test_every_section_begins_with_how_loud_its_alert_is(alert: Alert) -> None:
    """Whether it may wait until the morning is the first question."""
    page, _, _ = runbook(alert.name).partition("#")
    _, _, section = prose(ROOT / page).partition(f"## {alert.name}\n\n")
    loudness = "It" if alert.severity == "none" else alert.severity
    assert re.split(r"\W", section, maxsplit=1)[0] == loudness


def _typer_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the sub-command that words call, and the words left for it."""
    found: Any = get_command(app)
    rest = words[1:]
    while hasattr(found, "commands"):
        assert rest, f"{words}: a sub-command is missing"
        assert rest[0] in found.commands, f"{words}: there is no {rest[0]}"
        found, rest = found.commands[rest[0]], rest[1:]
    return found, rest


def check(words: list[str]) -> None:
    """Fail where a command line cannot be run as it stands."""
    words = words[1:] if words[0] == "time" else words
    assert words[0] in PROGRAMS, f"{words}: {words[0]} is not known here"
    if words[0] == "twinfeed":
        command, rest = _typer_of(words)
        command.make_context(words[1], [word.replace("$PERCENT", "5") for word in rest])
    if words[0] == "curl":
        paths = {each.path for each in OPERATIONS}
        urls = [word for word in words if word.startswith(("$HUB", "$PROM"))]
        assert len(urls) == 1 or words[-1].startswith("https://"), words
        for url in urls:
            host, _, path = url.partition("/")
            assert f"/{path}" in (paths if host == "$HUB" else {"/api/v1/query"}), url


def test_every_command_can_be_run_as_it_stands() -> None:
    """Programs, sub-commands, arguments, options and paths are those that there are."""
    every = _commands()
    assert len(every) > 80
    for _, words in every:
        check(words)


@pytest.mark.parametrize(
    "line",
    [
        ["twinfed", "status"],
        ["twinfeed", "stauts"],
        ["twinfeed", "report"],
        ["twinfeed", "status", "--jsn"],
        ["twinfeed", "hold"],
        ["twinfeed", "failover", "mars", "--why", "x"],
        ["curl", "-s", "$HUB/api/health/nothing"],
        ["curl", "-s", "$PROM/api/v2/query"],
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_run_is_found(line: list[str]) -> None:
    """The check above is one that can fail."""
    with pytest.raises((AssertionError, UsageError)):
        check(line)


def test_every_expression_speaks_of_what_exists() -> None:
    """And the labels that are printed are those that its series have."""
    known = _recorded()
    seen = 0
    for page in PAGES:
        for expr, output in asked(page, "query="):
            seen += 1
            linter = Linter(known)
            labels = linter.lint(expr)
            assert linter.findings == [], f"{page.name}: {expr}"
            if output and '"metric"' in output:
                metric = json.loads(output)["metric"]
                assert set(metric) <= set(labels), f"{page.name}: {expr}"
                for name, value in metric.items():
                    values = labels[name]
                    assert values is None or value in values, f"{page.name}: {name}={value}"
                if "instance" in metric and "job" in metric:
                    assert metric["instance"] in JOBS[metric["job"]], f"{page.name}: {metric}"
    assert seen > 30


def test_what_the_hub_is_said_to_answer_it_answers() -> None:
    """Every field that a page shows is one of the answer's."""
    answers = {each.path: each.answer for each in OPERATIONS}
    seen = 0
    for block, words in _commands():
        urls = [word.removeprefix("$HUB") for word in words if word.startswith("$HUB/")]
        if block.output.startswith("{") and urls and '"metric"' not in block.output:
            seen += 1
            shown = json.loads(block.output)
            fields = {field.encode_name for field in msgspec.structs.fields(answers[urls[0]])}
            assert set(shown) <= fields, f"{block.page}: {block.output}"
    assert seen > 8


def test_every_command_that_is_named_in_a_sentence_exists() -> None:
    """Not only those in blocks."""
    names = set(get_command(app).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        for named in re.findall(r"`twinfeed ([a-z-]+)", prose(page)):
            assert named in names, f"{page.name}: twinfeed {named}"


def test_what_nobody_types_says_why() -> None:
    """Two blocks; all others are commands that can be typed on a local stack."""
    untyped = [block for page in PAGES for block in blocks(page) if block.not_run]
    assert {(block.page, block.not_run) for block in untyped} == {
        ("GUIDE-001.md", "it asks the vendor, who is not here"),
        ("TASK-002.md", "every hub is restarted in the middle of it"),
    }
    assert all(block.language == "sh" for block in untyped)
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert text.count("not-run=") == len(untyped)


@pytest.mark.parametrize(
    ("printed", "said", "differs"),
    [
        ("", "anything", ""),
        ("a  b\n", "a     b\n1     2\n", ""),
        ("a  b\n", "a     c\n", "no line ['a', 'b']"),
        ('{"status": "Healthy", "n": 1}', 'before\n{"status": "Healthy", "n": 2, "m": 3}', ""),
        ('{"status": "Healthy"}', '{"status": "Degraded"}', "other ['status']"),
        ('{"n": 1}', '{"m": 1}', "lacking ['n']"),
        (
            '{"metric": {"type": "x"}}',
            '{"status": "success", "data": {"result": [{"metric": {"type": "y"}}]}}',
            "",
        ),
        ('{"metric": {"type": "x"}}', '{"status": "success", "data": {"result": []}}', ""),
        (
            '{"metric": {"type": "x"}}',
            '{"status": "success", "data": {"result": [{"metric": {"kind": "y"}}]}}',
            "no series with ['type']",
        ),
        ('{"metric": {}}', '{"status": "error", "error": "parse error"}', "an error"),
    ],
)
def test_an_answer_is_compared_with_the_printed_one(printed: str, said: str, differs: str) -> None:
    """Its names, and the words that are of the state; figures are examples."""
    found = difference(printed, said)
    assert differs in found
    assert bool(found) == bool(differs)


@pytest.mark.parametrize(
    ("printed", "said", "differs"),
    [
        ("a  b\n", "a     b\n1     2\n1 row\n", ""),
        ("a  b\n", "a     b\n0 rows\n", "no rows"),
        (
            '{"metric": {"type": "x"}}',
            '{"status": "success", "data": {"result": []}}',
            "no series with ['type']",
        ),
    ],
)
def test_where_something_must_be_there_nothing_is_a_difference(
    printed: str, said: str, differs: str
) -> None:
    """In the state that a page is about, its commands find something."""
    assert difference(printed, said, filled=True) == differs
    assert difference(printed, said) == ""


def test_the_introduction_leads_here() -> None:
    """Whoever has only the introduction finds what to do."""
    assert "docs/runbooks/README.md" in (ROOT / "README.md").read_text("utf-8")
