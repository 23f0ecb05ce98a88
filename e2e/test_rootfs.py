"""What a container's process sees, tried in real mount namespaces."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from e2e.command import CommandError, run
from e2e.rootfs import Bind, Privileges, script

NOBODY = Privileges(uid=65532, gid=65532, capabilities=(), may_gain=False)
PLAIN_ROOT = Privileges(uid=0, gid=0, capabilities=("net_admin",), may_gain=False)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter (those that pytest makes are for one user)."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def inside(text: str, *argv: str) -> str:
    """Run a command by a script, in mount and network namespaces of its own, as on a node."""
    return run(["unshare", "--net", "--mount", "--propagation", "slave", "--", "sh", "-c", text, "sh", *argv])


@pytest.mark.parametrize("privileges", [NOBODY, PLAIN_ROOT])
def test_a_program_in_a_closed_directory_can_be_run(place: Path, privileges: Privileges) -> None:
    closed = place / "home"
    program = closed / "clone" / "tool"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nls -A " + str(closed) + "\n")
    program.chmod(0o755)
    (closed / "secret").touch()
    closed.chmod(0o700)
    text = script([], [program.parent], privileges, read_only_root=True, scratch=place / "layers")
    if privileges is NOBODY:
        with pytest.raises(CommandError, match=r"Permission denied|not found"):
            run(["setpriv", "--reuid=65532", "--clear-groups", str(program)])
    assert inside(text, str(program)) == "clone\n", "the program is there, and nothing else of that directory"
    assert sorted(path.name for path in closed.iterdir()) == ["clone", "secret"]


def test_two_missing_mount_points_in_one_directory(place: Path) -> None:
    sources = [place / name for name in ("a", "b")]
    for source in sources:
        source.mkdir()
        (source / source.name).touch()
    binds = [Bind(source, Path("/srv/nodewall-e2e") / source.name / "deep") for source in sources]
    text = script(binds, [], PLAIN_ROOT, read_only_root=True, scratch=place / "layers")
    assert inside(text, "ls", *(str(bind.target) for bind in binds)).split() == [
        "/srv/nodewall-e2e/a/deep:",
        "a",
        "/srv/nodewall-e2e/b/deep:",
        "b",
    ]
    assert not Path("/srv/nodewall-e2e").exists()


def test_a_read_only_bind_cannot_be_written(place: Path) -> None:
    (place / "source").mkdir()
    bind = Bind(place / "source", Path("/run/x/y"), read_only=True)
    text = script([bind], [], PLAIN_ROOT, read_only_root=False, scratch=place / "layers")
    with pytest.raises(CommandError, match="Read-only file system"):
        inside(text, "touch", "/run/x/y/z")
