"""One instance of the harness: its names, its state directory, and what it has to take away again.

Every network namespace is written down before it is made and every process right after it is started, each as a
file of its own. Whatever happens to the owner, the next one can therefore remove exactly what this instance left,
and nothing else: names alone would not tell two instances (or a stranger's namespace) apart.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e import netns
from e2e.processes import Identity, end_group, is_alive, own_identity

_ID = re.compile(r"[a-z0-9]{0,10}")


class InstanceInUseError(Exception):
    """Somebody else's instance of this id is up; the text says how to remove it."""


def state_root() -> Path:
    """The directory below which each instance keeps its state directory."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "nodewall" / "e2e"


@dataclass(frozen=True, slots=True)
class Instance:
    """Names and state of one instance; `id` is empty for the one that `make cluster` leaves running."""

    id: str
    state: Path

    @classmethod
    def named(cls, id_: str) -> "Instance":
        """The instance of this id, whether it is up or not; ids are up to ten of a-z and 0-9."""
        if not _ID.fullmatch(id_):
            raise ValueError(f"NODEWALL_E2E_ID={id_!r}: use up to ten of a-z and 0-9")
        return cls(id_, state_root() / (id_ or "default"))

    @classmethod
    def from_environment(cls, default: str = "") -> "Instance":
        """The instance that NODEWALL_E2E_ID names."""
        return cls.named(os.environ.get("NODEWALL_E2E_ID", default))

    def name(self, what: str) -> str:
        """The network namespace name for `what`: nw-cp, or nw-ID-cp."""
        return f"nw-{self.id}-{what}" if self.id else f"nw-{what}"

    def directory(self, *parts: str) -> Path:
        """A directory below the state directory, made when it is not there."""
        path = self.state.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        """The log file of one process."""
        return self.directory("logs") / f"{name}.log"

    def claim(self, *, lasting: bool = False) -> None:
        """Make this instance ours; leftovers of a dead owner go first.

        A `lasting` instance outlives the process that makes it and goes only with `remove`.
        Raises InstanceInUseError when it is up.
        """
        if self.state.exists() and not self.is_abandoned():
            raise InstanceInUseError(
                f"{self.state} is in use: `make cluster-down` removes it; NODEWALL_E2E_ID=x is another"
            )
        self.remove()
        self.state.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.state.mkdir()
        except FileExistsError as error:
            raise InstanceInUseError(f"{self.state} was just taken by another process") from error
        owner = {"lasting": lasting, **own_identity().to_json()}
        (self.state / "owner.json").write_text(json.dumps(owner))

    def is_abandoned(self) -> bool:
        """Whether the owner is gone without having removed it (a lasting instance never counts as such)."""
        try:
            owner = json.loads((self.state / "owner.json").read_text())
        except (FileNotFoundError, ValueError):
            # Between mkdir and the first write an owner looks like this too; only `remove` by hand takes it away.
            return not self.state.exists()
        return not owner["lasting"] and not is_alive(Identity.from_json(owner))

    def add_namespace(self, what: str) -> str:
        """Make the network namespace for `what` (loopback up) and return its name."""
        name = self.name(what)
        (self.directory("namespaces") / name).touch()
        netns.add(name)
        return name

    def remove_namespace(self, name: str) -> None:
        """Remove a network namespace of this instance; one that is gone already is fine."""
        netns.delete(name)
        (self.directory("namespaces") / name).unlink(missing_ok=True)

    def add_process(self, identity: Identity) -> None:
        """Remember a process (the leader of its own group) that this instance started."""
        path = self.directory("processes") / str(identity.pid)
        path.write_text(json.dumps(identity.to_json()))

    def forget_process(self, identity: Identity) -> None:
        """The process has ended."""
        (self.state / "processes" / str(identity.pid)).unlink(missing_ok=True)

    def namespaces(self) -> list[str]:
        """The names of the network namespaces that this instance made and has not removed."""
        return sorted(path.name for path in _files(self.state / "namespaces"))

    def remove(self) -> None:
        """End every process, remove every network namespace and the state directory; safe to repeat."""
        if not self.state.exists():
            return
        for path in _files(self.state / "processes"):
            end_group(Identity.from_json(json.loads(path.read_text())), grace=0.5)
            path.unlink()
        for name in self.namespaces():
            self.remove_namespace(name)
        shutil.rmtree(self.state)


def sweep_abandoned() -> list[str]:
    """Remove every instance whose owner died without removing it and return their ids."""
    if not state_root().exists():
        return []
    states = sorted(path.name for path in state_root().iterdir() if path.is_dir())
    abandoned = [instance for instance in map(_of_state, states) if instance.is_abandoned()]
    for instance in abandoned:
        instance.remove()
    return [instance.id for instance in abandoned]


def _of_state(directory: str) -> Instance:
    return Instance.named("" if directory == "default" else directory)


def _files(directory: Path) -> Iterator[Path]:
    return iter(sorted(directory.iterdir())) if directory.exists() else iter(())
