"""Root file systems of Debian 13, made once by debootstrap and kept in the cache, and commands run inside them.

They bring a second Python and a second libnftables to a machine that has others, and the tools that build and run an
image. A root is never changed after it was made: its name is a hash of what it was made from, and a command inside sees
it in a mount namespace of its own, which ends with the command.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.binaries import Say
from e2e.command import CommandError, run
from e2e.rootfs import Bind

SUITE = "trixie"
_MIRROR = "NODEWALL_DEBIAN_MIRROR"  # names another place with the same layout
_SECURITY_MIRROR = "NODEWALL_DEBIAN_SECURITY_MIRROR"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_RECIPE = 1  # counted up when this file makes something else from the same packages
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

# What Debian's own `-slim` images leave out: what is measured in an image made from ours is then near to the truth.
_LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "locale", "man")
_KEPT = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")


def cache() -> Path:
    """The directory of everything that is made from Debian packages."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "nodewall" / "debian"


def provide(packages: Iterable[str], say: Say) -> Path:
    """The root with these packages and what they depend on; without any it is like Debian's `-slim` image.

    Raises CommandError when it has to be made and cannot.
    """
    wanted = sorted(packages)
    root = cache() / f"{SUITE}-{_digest([str(_RECIPE), *wanted])}"
    if root.exists():
        return root
    if not wanted:
        return made_once(root, lambda partial: _bootstrap(partial, say))
    base = provide((), say)
    return made_once(root, lambda partial: _extend(base, partial, wanted, say))


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made under another name when it is not there; two who want it on a cold machine share the work."""
    with one_at_a_time():
        partial = target.with_name(f"{target.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        if not target.exists():
            partial.mkdir(parents=True)
            make(partial)
            partial.rename(target)
    return target


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """One process at a time changes the cache."""
    cache().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(cache() / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def argv(
    root: Path,
    command: Sequence[str],
    binds: Iterable[Bind] = (),
    env: Mapping[str, str] = {},
    *,
    writable: bool = False,
) -> list[str]:
    """The command line that runs `command` inside a root, with the machine's processes, devices and network.

    A bind shows a file or directory of the machine below /run, or in place of a directory. /tmp and /run are empty and
    end with the command; the rest is read-only, unless it is just being made. Of the environment only the proxies are
    inherited.
    """
    chosen = {"PATH": _PATH, "HOME": "/tmp", "LC_ALL": "C.UTF-8", **proxies(), **env}  # noqa: S108 - its own /tmp
    words = ["env", "-i", *(f"{name}={value}" for name, value in chosen.items()), *command]
    script = "\n".join(_lines(root, binds, writable=writable))
    return ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", script, "sh", *words]


def run_inside(
    root: Path,
    command: Sequence[str],
    binds: Iterable[Bind] = (),
    env: Mapping[str, str] = {},
    *,
    writable: bool = False,
) -> str:
    """Run a command inside a root and return what it prints; raises CommandError without the script around it."""
    try:
        return run(argv(root, command, binds, env, writable=writable), timeout=1800)
    except CommandError as error:
        outcome = str(error).rpartition(": exit code ")[2]
        raise CommandError(f"in {root.name}: {shlex.join(command)}: exit code {outcome}") from None


def proxies() -> dict[str, str]:
    """The proxies that the machine reaches the network by."""
    return {name: os.environ[name] for name in _PROXIES if name in os.environ}


def _lines(root: Path, binds: Iterable[Bind], *, writable: bool) -> Iterator[str]:
    """A script whose arguments are the command. The root becomes a mount point, or no container could start in it."""
    place = shlex.quote(str(root))
    yield "set -eu"
    yield f"mount --bind {place} {place}"
    if not writable:
        yield f"mount -o remount,bind,ro {place}"
    yield f"mount --rbind /dev {place}/dev"
    yield f"mount --rbind /sys {place}/sys"
    yield f"mount -t proc proc {place}/proc"
    yield f"mount -t tmpfs -o mode=1777 tmpfs {place}/tmp"  # noqa: S108 - of its own
    yield f"mount -t tmpfs -o mode=755 tmpfs {place}/run"
    yield f"mount --bind /etc/resolv.conf {place}/etc/resolv.conf"
    for bind in binds:
        yield from _show(root, bind)
    yield f'exec chroot {place} "$@"'


def _show(root: Path, bind: Bind) -> Iterator[str]:
    source = shlex.quote(str(bind.source))
    target = shlex.quote(f"{root}{bind.target}")
    if bind.source.is_dir():
        yield f"mkdir -p {target}"
    else:
        yield f"mkdir -p $(dirname {target}); : >{target}"
    yield f"mount --rbind {source} {target}"
    if bind.read_only:
        yield f"mount -o remount,bind,ro {target}"


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _bootstrap(root: Path, say: Say) -> None:
    say(f"making a root file system of Debian {SUITE}; once, about a minute")
    options = ["--variant=minbase", f"--keyring={_KEYRING}", "--force-check-gpg"]
    named = [mirror] if (mirror := os.environ.get(_MIRROR)) else []
    run(["debootstrap", *options, SUITE, str(root), *named], timeout=1800)
    mirror = (root / "etc/apt/sources.list").read_text().split()[1]  # debootstrap's own, where none was named
    security = os.environ.get(_SECURITY_MIRROR, f"{mirror}-security")
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_slim())
    for name in _LEFT_OUT:
        _empty_but_kept(root / "usr/share" / name, root)
    sources = [f"deb {mirror} {SUITE} main", f"deb {mirror} {SUITE}-updates main"]
    sources.append(f"deb {security} {SUITE}-security main")
    (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    _install(root, "apt-get upgrade -q -y")


def _extend(base: Path, root: Path, packages: Sequence[str], say: Say) -> None:
    say(f"installing {' '.join(packages)} in a root file system of Debian {SUITE}; once, about a minute")
    root.rmdir()
    run(["cp", "-a", str(base), str(root)])
    _install(root, f"apt-get install -q -y --no-install-recommends {shlex.join(packages)}")


def _install(root: Path, command: str) -> None:
    script = f"apt-get update -q; {command}; apt-get clean; rm -rf /var/lib/apt/lists/* /var/log/*"
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run_inside(root, ["sh", "-ec", script], env=env, writable=True)


def _slim() -> str:
    excluded = [f"path-exclude /usr/share/{name}/*" for name in _LEFT_OUT]
    return "\n".join([*excluded, *(f"path-include {path}" for path in _KEPT)]) + "\n"


def _empty_but_kept(directory: Path, root: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not any(Path("/", path.relative_to(root)).match(pattern) for pattern in _KEPT):
            path.unlink()
