"""How far each node has got, told from the digests that agents report."""

import pytest

from nodewall.controller.progress import EVERYTHING, HISTORY, NOTHING, Progress


@pytest.fixture
def progress() -> Progress:
    """Batch 1 was compiled for n1 as "a", and n1 applied it."""
    progress = Progress()
    progress.took_in(["n1"])
    progress.published("n1", "a", 1)
    progress.applied("n1", "a")
    return progress


def test_a_node_that_reports_nothing_has_nothing(progress: Progress) -> None:
    progress.took_in(["n2"])
    progress.published("n2", "x", 2)
    assert progress.reached("n2") == NOTHING
    assert progress.reached("unheard of") == NOTHING


def test_a_node_that_applied_the_latest_has_everything(progress: Progress) -> None:
    assert progress.reached("n1") == EVERYTHING


def test_a_batch_that_did_not_concern_the_node_is_in_force_there(progress: Progress) -> None:
    progress.took_in(["n2"])
    assert progress.reached("n1") == EVERYTHING


def test_a_dirty_node_has_all_but_what_made_it_dirty(progress: Progress) -> None:
    progress.took_in(["n2"])
    progress.took_in(["n1"])
    assert progress.reached("n1") == 2
    progress.took_in(["n1"])
    assert progress.reached("n1") == 2


def test_an_edit_that_changed_no_byte_counts_once_it_was_compiled(progress: Progress) -> None:
    progress.took_in(["n1"])
    assert progress.reached("n1") == 1
    progress.published("n1", "a", 2)
    assert progress.reached("n1") == EVERYTHING


def test_what_is_published_counts_when_it_is_applied(progress: Progress) -> None:
    progress.took_in(["n1"])
    progress.published("n1", "b", 2)
    assert progress.reached("n1") == 1
    progress.applied("n1", "b")
    assert progress.reached("n1") == EVERYTHING


def test_what_changed_while_it_was_written_is_not_in_it(progress: Progress) -> None:
    progress.took_in(["n1"])
    progress.took_in(["n1"])
    progress.published("n1", "b", 2)  # compiled before the third batch
    progress.applied("n1", "b")
    assert progress.reached("n1") == 2


def test_going_back_to_an_older_content_is_progress_too(progress: Progress) -> None:
    for batch, digest in ((2, "b"), (3, "a")):
        progress.took_in(["n1"])
        progress.published("n1", digest, batch)
    assert progress.reached("n1") == EVERYTHING
    progress.applied("n1", "b")
    assert progress.reached("n1") == 2


def test_a_digest_that_we_never_published_is_nothing(progress: Progress) -> None:
    progress.applied("n1", "foreign")
    assert progress.reached("n1") == NOTHING


def test_a_lagging_node_under_churn_still_counts_for_old_batches(progress: Progress) -> None:
    for batch in range(2, HISTORY):
        progress.took_in(["n1"])
        progress.published("n1", f"d{batch}", batch)
    assert progress.reached("n1") == 1
    progress.applied("n1", "d10")
    assert progress.reached("n1") == 10


def test_a_node_that_is_gone_has_nothing(progress: Progress) -> None:
    progress.gone("n1")
    assert progress.reached("n1") == NOTHING
