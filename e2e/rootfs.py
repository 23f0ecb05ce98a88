"""What a container's process sees of the file system, as a shell script that arranges it and then becomes the process.

The script runs in a mount namespace of its own, whose changes end with it. There it stands in for the container
runtime: the ServiceAccount directory at its standard path, the volumes, a fresh /run, a read-only root, the user, and
the capabilities. The program itself is this checkout and its virtual environment, not an image.
"""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_KEPT = Path("/run/kept")


@dataclass(frozen=True, slots=True)
class Bind:
    """Show the directory `source` at `target`."""

    source: Path
    target: Path
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Privileges:
    """The user and what it may do; `capabilities` None means all."""

    uid: int
    gid: int
    capabilities: tuple[str, ...] | None
    may_gain: bool


def script(
    binds: Iterable[Bind], program: Iterable[Path], privileges: Privileges, *, read_only_root: bool, scratch: Path
) -> str:
    """The script; its arguments are the command to become.

    `program` are the directories that the command itself needs. Where one of them is below a directory that only its
    owner may enter (a clone in /root), that directory is replaced by one with nothing but the program in it. `scratch`
    is an empty directory of ours for the layers that missing mount points need.
    """
    volumes = list(binds)
    programs = [Bind(path, path) for path in sorted(set(program)) if _closed_ancestor(path)]
    kept = list(enumerate([*volumes, *programs]))
    lines = ["set -eu", "mount -t sysfs sysfs /sys", "mount -t tmpfs -o mode=755 tmpfs /run"]
    for number, bind in kept:
        lines += [f"mkdir -p {_KEPT}/{number}", f"mount --rbind {_q(bind.source)} {_KEPT}/{number}"]
    for directory in sorted({_closed_ancestor(bind.target) or Path("/") for bind in programs}):
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {_q(directory)}")
    lines += _mount_points([bind.target for bind in volumes], scratch)
    for number, bind in kept:
        lines += _show(bind, f"{_KEPT}/{number}")
    if read_only_root:
        lines.append("mount -o remount,bind,ro /")
    lines += ["cd /", f'exec {shlex.join(_privileged(privileges))} "$@"']
    return "\n".join(lines) + "\n"


def _mount_points(targets: list[Path], scratch: Path) -> Iterator[str]:
    """Make directories that the machine lacks without writing to its file system: an overlay, only seen in here.

    /run is a fresh file system of ours already, so there `mkdir` does.
    """
    ancestors = {target: _existing_ancestor(target) for target in targets if not target.exists()}
    for ancestor in sorted(set(ancestors.values())):
        if ancestor.resolve().is_relative_to("/run"):
            continue
        layer = scratch / ancestor.relative_to("/")
        for target in sorted(ancestors):
            if ancestors[target] == ancestor:
                yield f"mkdir -p {_q(layer / target.relative_to(ancestor))}"
        yield f"mount -t overlay overlay -o lowerdir={_q(layer)}:{_q(ancestor)} {_q(ancestor)}"


def _show(bind: Bind, kept: str) -> Iterator[str]:
    """Move a kept mount to its target."""
    target = _q(bind.target)
    yield f"mkdir -p {target}"
    yield f"mount --rbind {kept} {target}"
    yield f"umount -R {kept}"
    if bind.read_only:
        yield f"mount -o remount,bind,ro {target}"


def _existing_ancestor(path: Path) -> Path:
    return next(each for each in path.parents if each.exists())


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost directory above `path` that not everybody may enter."""
    above = [each for each in reversed(path.parents) if each.exists()]
    return next((each for each in above if not each.stat().st_mode & 0o001), None)


def _privileged(privileges: Privileges) -> list[str]:
    argv = ["setpriv", f"--reuid={privileges.uid}", f"--regid={privileges.gid}", "--clear-groups"]
    if privileges.capabilities is not None:
        bounding = ",".join(["-all", *(f"+{name}" for name in privileges.capabilities)])
        argv += ["--inh-caps=-all", "--ambient-caps=-all", f"--bounding-set={bounding}"]
    return argv if privileges.may_gain else [*argv, "--no-new-privs"]


def _q(path: Path) -> str:
    return shlex.quote(str(path))
