"""What stands in the pages for whoever is on call: headings, links, commands, and their outputs."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DIRECTORY = ROOT / "docs" / "runbooks"
#: Every page that is tested.
PAGES = (
    *sorted(DIRECTORY.glob("*.md")),
    ROOT / "docs" / "postmortem.md",
    ROOT / "docs" / "oncall" / "README.md",
)

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
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

    """

    page: str
    language: str
    text: str
    output: str = ""


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
                output = after[3]
        made.append(Block(page.name, block[2], block[3], output))
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
