"""What stands in the pages for whoever is on call: headings, links, commands, and their outputs."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DIRECTORY = ROOT / "docs" / "runbooks"
#: Every page that is tested.
PAGES = (
    *sorted(DIRECTORY.glob("*.md")),
    ROOT / "docs" / "postmortem.md",
    ROOT / "docs" / "oncall" / "README.md",
)

#: A word of this is of the state that a page is about; other values are examples.
WORDS = {"status", "state", "source", "authenticated", "isRealTime"}
_FENCE = re.compile(
    r'^( *)```(\w+)(?: not-run="([^"\n]+)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL
)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\s*\1$", re.MULTILINE | re.DOTALL)
_INNER = re.compile(r"\$\(([^()]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: the page's name.
        language: what it says that it is.
        text: what stands in it.
        output: the block that follows it, if that is what it prints.
        section: the heading of the second level that it stands under.
        not_run: why no test types it; empty for what is typed.

    """

    page: str
    language: str
    text: str
    output: str = ""
    section: str = ""
    not_run: str = ""


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks, each of commands with the output that directly follows it."""
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    made = []
    for number, block in enumerate(found):
        output = ""
        if block[2] == "sh" and number + 1 < len(found):
            after = found[number + 1]
            between = text[block.end() : after.start()]
            if after[2] in {"text", "json"} and not between.strip():
                output = after[4]
        section = [
            words for marks, words in _HEADING.findall(text[: block.start()]) if marks == "##"
        ]
        indent, language, not_run, content = block.groups()
        content = re.sub(f"^{indent}", "", content, flags=re.MULTILINE)
        made.append(
            Block(page.name, language, content, output, "".join(section[-1:]), not_run or "")
        )
    return made


def headings(page: Path) -> list[tuple[int, str]]:
    """Return a page's headings with their levels."""
    return [(len(marks), words.strip()) for marks, words in _HEADING.findall(prose(page))]


def anchor(heading: str) -> str:
    """Return a heading's anchor as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: Path) -> list[str]:
    """Return where a page's links lead, those into the web left out."""
    return [link for link in _LINK.findall(prose(page)) if "://" not in link]


def commands(block: Block) -> Iterator[list[str]]:
    """Yield every command of a block as its words; those in `$(...)` are commands as well."""
    text = _HEREDOC.sub("", block.text)
    for line in filter(None, (line.strip() for line in text.splitlines())):
        yield shlex.split(line)
        for inner in _INNER.findall(line):
            yield shlex.split(inner)


def asked(page: Path, option: str) -> Iterator[tuple[str, str]]:
    """Yield what is asked of Prometheus (`query=`): the expression, and the block's output."""
    for block in blocks(page):
        if block.language == "sh":
            for words in commands(block):
                for word in words:
                    if word.startswith(option):
                        yield word.removeprefix(option), block.output


def questions(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each statement for `twinfeed sql`, and the first line of what the block prints."""
    for block in blocks(page):
        if block.language == "sh":
            every = [words[words[0] == "time" :] for words in commands(block)]
            of = [words for words in every if words[:2] == ["twinfeed", "sql"]]
            for number, words in enumerate(of):
                is_last = number == len(of) - 1
                yield words[2], block.output.partition("\n")[0] if is_last else ""


def difference(printed: str, said: str, *, filled: bool = False) -> str:
    """Return in what an answer is not as it is printed; figures, times and names are examples.

    Args:
        printed: what the page shows.
        said: what was answered.
        filled: whether a table has to have rows, and a query series.

    """
    if not printed:
        return ""
    if not printed.lstrip().startswith("{"):
        first = printed.splitlines()[0].split()
        lines = [line.split() for line in said.splitlines()]
        if first not in lines:
            return f"no line {first}"
        return "no rows" if filled and ["0", "rows"] in lines else ""
    shown = json.loads(printed)
    answers = list(_values(said))
    if "metric" in shown:
        if any(answer["status"] != "success" for answer in answers):
            return "an error"
        found = [each["metric"].keys() for answer in answers for each in answer["data"]["result"]]
        fits = (not found and not filled) or any(
            shown["metric"].keys() <= labels for labels in found
        )
        return "" if fits else f"no series with {list(shown['metric'])}"
    answer = answers[-1]
    lacking = [name for name in shown if name not in answer]
    other = [n for n in shown if n in WORDS and n in answer and answer[n] != shown[n]]
    return f"lacking {lacking}, other {other}" if lacking or other else ""


def _values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    # what was printed before is not JSON
    rest = text[max(text.find("{"), 0) :].strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].strip()
