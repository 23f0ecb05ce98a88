"""The documents, read: blocks of code with what marks them, words in code font, links.

A block of commands (a fence that names no language) is marked by the comment ``<!-- test: KIND -->`` right above it,
which says that an end-to-end test runs it; or by a line that readers see, ``*No test runs this: why.*``.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- test: ([\w-]+) -->\n\Z")
_NOT_RUN = re.compile(r"^\*No test runs this: ([^*]+)\.\*\n\n?\Z", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMENT = re.compile(r"(^|\s+)#\s.*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. ``test`` is the kind that it is marked with, ``not_run`` the reason that is given, else ""."""

    document: Path
    language: str
    text: str
    test: str
    not_run: str

    def commands(self) -> list[str]:
        """Without comments. A line that ends in a backslash or a bar, or within quotes, goes on in the next one."""
        found, pending = [], ""
        for line in self.text.splitlines():
            pending += _COMMENT.sub("", line).rstrip()
            if pending.endswith(("\\", "|")) or _is_open(pending):
                pending += "\n"
                continue
            found.append(pending.strip())
            pending = ""
        return [command for command in found if command]

    def __str__(self) -> str:
        return f"{self.document.name}: {self.text.splitlines()[0]}"


def _is_open(text: str) -> bool:
    """Whether a quote is."""
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False


def name(document: Path) -> str:
    """As people call it."""
    return str(document.relative_to(ROOT))


def blocks(document: Path) -> Iterator[Block]:
    """All of one document, in order."""
    text = document.read_text()
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        mark, reason = _MARK.search(before), _NOT_RUN.search(before)
        yield Block(document, found[1], found[2], mark[1] if mark else "", reason[1] if reason else "")


def commands_marked(kind: str, *documents: Path) -> list[str]:
    """The commands of the blocks with this mark."""
    marked = (block for document in documents for block in blocks(document) if block.test == kind)
    return [command for block in marked for command in block.commands()]


def prose(document: Path) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", document.read_text())


def spans(document: Path) -> list[str]:
    """What stands in code font within the text, a bar of a table unescaped, line breaks as spaces."""
    return [" ".join(each.replace("\\|", "|").split()) for each in _SPAN.findall(prose(document))]


def links(document: Path) -> list[str]:
    return _LINK.findall(prose(document))


def rows(document: Path, heading: str, table: int = 0) -> list[list[str]]:
    """The cells of a section's table, without the line of its titles."""
    section = re.split(r"^## ", document.read_text(), flags=re.MULTILINE)
    (body,) = (each for each in section if each.splitlines()[0] == heading)
    tables = re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE)
    lines = tables[table].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def first_words(document: Path, heading: str, table: int = 0) -> list[str]:
    """What stands in code font in the first column of that table."""
    return [word for row in rows(document, heading, table) for word in _SPAN.findall(row[0])]
