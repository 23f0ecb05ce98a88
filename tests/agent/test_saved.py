"""The last good rule set on disk."""

from pathlib import Path

import pytest

from nodewall.agent.saved import FILE, Saved


def test_what_was_stored_last_is_loaded(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "state")
    assert saved.load() is None
    saved.store(b"one")
    saved.store(b"two")
    assert saved.load() == b"two"
    assert [each.name for each in saved.directory.iterdir()] == [FILE]


def test_others_cannot_read_it(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "state")
    saved.store(b"one")
    assert saved.path.stat().st_mode & 0o077 == 0
    assert saved.directory.stat().st_mode & 0o077 == 0


def test_a_failed_write_leaves_the_last_one_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Saved(tmp_path)
    saved.store(b"one")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        saved.store(b"two")
    assert saved.load() == b"one"
    assert [each.name for each in tmp_path.iterdir()] == [FILE]


def test_removal_can_be_repeated_and_takes_what_a_crash_left(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "state")
    assert not saved.remove()
    saved.store(b"one")
    (saved.directory / f".{FILE}.x1").write_bytes(b"half")
    assert saved.remove()
    assert not saved.remove()
    assert list(saved.directory.iterdir()) == []
