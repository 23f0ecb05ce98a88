"""Every command in a document is run by a test, or the document says that none does, and why."""

from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks, name

MARKED = [block for document in DOCUMENTS for block in blocks(document) if block.test or block.not_run]
LANGUAGES = {"json", "logql", "text", "verdicts", "world", "yaml"}
"""Of blocks that are no commands."""
ELSEWHERE = {
    "CONTRIBUTING.md": "its verbs are held to the Makefile, here and in tests/repository/test_verbs.py",
    "docs/nftables-layout.md": "a drawing",
    "docs/settings.md": "generated, and held to what generates it",
}


def bare(document: Path) -> list[Block]:
    return [block for block in blocks(document) if not block.language]


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if name(each) not in ELSEWHERE], ids=name)
def test_commands_are_run_or_said_not_to_be(document: Path) -> None:
    assert [str(block) for block in bare(document) if not (block.test or block.not_run)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_other_blocks_say_what_they_are(document: Path) -> None:
    assert {block.language for block in blocks(document) if block.language} <= LANGUAGES


@pytest.mark.parametrize("kind", sorted({block.test for block in MARKED if block.test}))
def test_a_mark_names_a_kind_that_a_test_runs(kind: str) -> None:
    """As a word between quotes, which is how they are asked for."""
    tests = [path.read_text() for path in ROOT.glob("e2e/test_*.py")]
    assert any(f'"{kind}"' in text for text in tests)


def test_both_kinds_of_marks_are_found() -> None:
    """The checks above check something."""
    assert {bool(block.test) for block in MARKED} == {True, False}
