"""The inverted indexes find exactly what trying everything finds, and try little."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.compile.index import LabelIndex, SelectorIndex
from nodewall.compile.operations import Operations
from nodewall.compile.selectors import matches
from nodewall.model.labels import EVERYTHING, Labels, Operator, Requirement, Selector
from tests.compile.generate import labels, selectors
from tests.compile.world import labelled, where

_some = st.lists(selectors, max_size=8, unique=True)


@settings(max_examples=200, deadline=None)
@given(_some, _some, labels)
def test_labels_find_their_selectors(kept: list[Selector], removed: list[Selector], found: Labels) -> None:
    index: SelectorIndex[Selector] = SelectorIndex(Operations())
    gone = [each for each in removed if each not in kept]
    for each in (*kept, *gone):
        index.add(each, each)
    for each in gone:
        index.remove(each)
    hits = index.matching(found)
    assert set(hits) == {each for each in kept if matches(each, found)}
    assert len(hits) == len(set(hits))
    assert len(index) == len(kept)


@settings(max_examples=200, deadline=None)
@given(st.lists(labels, max_size=8), st.lists(labels, max_size=8), selectors)
def test_a_selector_finds_its_objects(kept: list[Labels], removed: list[Labels], wanted: Selector) -> None:
    index: LabelIndex[int] = LabelIndex()
    for number, each in enumerate((*kept, *removed)):
        index.add(number, each)
    for number in range(len(kept), len(kept) + len(removed)):
        index.remove(number)
    candidates = list(index.candidates(wanted))
    assert len(candidates) == len(set(candidates)) == index.count(wanted)
    assert (
        {number for number, each in enumerate(kept) if matches(wanted, each)}
        <= set(candidates)
        <= set(range(len(kept)))
    )


def _tried(*given_selectors: Selector, by: Labels) -> int:
    operations = Operations()
    index: SelectorIndex[Selector] = SelectorIndex(operations)
    for each in given_selectors:
        index.add(each, each)
    index.matching(by)
    return operations.selectors


def test_a_label_that_all_selectors_ask_for_leads_to_few_of_them() -> None:
    many = [labelled(a="same", z=f"z-{number}") for number in range(100)]
    assert _tried(*many, by=Labels({"a": "same", "z": "z-7"})) <= 2
    assert _tried(*(labelled(a=f"a-{number}", z="same") for number in range(100)), by=Labels({"z": "same"})) <= 1


def test_only_what_excludes_or_asks_for_nothing_is_tried_on_everything() -> None:
    without = [EVERYTHING, where("a", Operator.NOT_IN, "b"), where("a", Operator.DOES_NOT_EXIST)]
    asking = [where("a", Operator.IN, "b", "c"), where("a", Operator.EXISTS), labelled(x="y")]
    assert _tried(*without, *asking, by=Labels({"other": "label"})) == len(without)


def test_an_in_without_values_is_never_tried() -> None:
    assert _tried(where("a", Operator.IN), by=Labels({"a": "b"})) == 0


def test_a_selector_of_many_values_costs_their_number() -> None:
    """Anybody who may write a NetworkPolicy may write one, and held the controllers up for seconds."""
    many = Selector.of([Requirement("app", Operator.IN, tuple(f"v{number}" for number in range(50_000)))])
    index: SelectorIndex[str] = SelectorIndex(Operations())
    began = time.process_time()
    index.add(many, "many")
    assert index.matching(Labels({"app": "v7"})) == ["many"]
    index.remove(many)
    assert index.matching(Labels({"app": "v7"})) == []
    assert time.process_time() - began < 2, "seconds; the square of their number takes sixteen"
