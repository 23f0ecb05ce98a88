"""The last good NodeRuleSet on disk, for a node that starts while the API server is away.

One file in one directory, replaced by rename, so that a crash or a full disk leaves the previous one. What is read back
is checked like anything from the API server; the file is trusted no more than that.
"""

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

FILE = "noderuleset.json"
COUNTER = "connection-generation"
COUNTS = "verdict-counts.json"
"""Of the verdict log, which reads and writes it itself."""
LARGEST = 64 << 20
"""Bytes that are read back: a NodeRuleSet, and the groups that it shares with others."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The file in ``directory``. Every method may raise OSError."""

    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / FILE

    def load(self) -> bytes | None:
        """What was stored last, or None."""
        try:
            with self.path.open("rb") as file:
                return file.read(LARGEST)
        except FileNotFoundError:
            return None

    def store(self, content: bytes) -> None:
        """Replace the file: written and on disk before the new name counts."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        _sync_directory(self.directory)

    def generation(self) -> int | None:
        """The newest generation of connections that may be in the kernel, or None when it is not known."""
        try:
            return int((self.directory / COUNTER).read_text())
        except (OSError, ValueError):
            return None

    def reserve(self, generation: int) -> None:
        """Remember a generation before it is used. Not synced: connections do not outlive the machine either."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.directory / f".{COUNTER}.new"
        new.write_text(str(generation))
        new.replace(self.directory / COUNTER)

    def remove(self) -> bool:
        """Delete the files and what a crash left beside them. False when there were none."""
        files = [file for name in (FILE, COUNTER, COUNTS) for file in self.directory.glob(f"*{name}*")]
        for file in files:
            file.unlink(missing_ok=True)
        return bool(files)


def _sync_directory(directory: Path) -> None:
    """The rename itself is only durable once the directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
