"""Find or make the Kubernetes programs that the control plane needs.

For each one, in this order: the path in its environment variable; one on PATH that is new enough; the cache; the
official release, when it can be reached; a build from the Go module. The last two end in the cache, which is outside
the tree and by version, so that this happens once per machine and user.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.command import CommandError, run

VERSION = "v1.36.3"
_MODULES_VERSION = "v0.36.3"  # the k8s.io modules that a release of Kubernetes is made from carry its minor and patch
_RELEASES = "https://dl.k8s.io/release"
_MIRROR = "NODEWALL_KUBERNETES_RELEASES"  # names another place with the same layout
_UNREACHABLE_AFTER = 5.0  # seconds to wait for the release server
_OLDEST_GO = (1, 21)  # from here on `go` fetches the toolchain that a module asks for
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

Say = Callable[[str], None]


class BinaryMissingError(Exception):
    """A program is not there and cannot be fetched or built; the text says what would help."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: name, the variable that overrides where it is, the oldest version that fits, how to ask for it."""

    name: str
    variable: str
    oldest: tuple[int, int]
    version_argv: tuple[str, ...]


# kubectl may be one minor older than the API server it talks to (the version skew policy).
APISERVER = Program("kube-apiserver", "NODEWALL_KUBE_APISERVER", (1, 32), ("--version",))
CONTROLLER_MANAGER = Program("kube-controller-manager", "NODEWALL_KUBE_CONTROLLER_MANAGER", (1, 32), ("--version",))
KUBECTL = Program("kubectl", "NODEWALL_KUBECTL", (1, 35), ("version", "--client"))
PROGRAMS = (APISERVER, CONTROLLER_MANAGER, KUBECTL)


def cache() -> Path:
    """The directory that keeps the programs of this version."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "nodewall" / "kubernetes" / VERSION


def provide(programs: tuple[Program, ...], say: Say) -> dict[str, Path]:
    """Return the path of each program by name, fetching or building what is missing; `say` hears the progress.

    Raises BinaryMissingError.
    """
    found = {program.name: _existing(program) for program in programs}
    if all(found.values()):
        return {name: path for name, path in found.items() if path}
    with _one_at_a_time():
        for program in programs:
            found[program.name] = found[program.name] or _cached(program) or _download(program, say)
        _build([program for program in programs if not found[program.name]], say)
    return {program.name: found[program.name] or cache() / program.name for program in programs}


def etcd() -> Path:
    """The path of etcd: NODEWALL_ETCD or the one on PATH."""
    path = os.environ.get("NODEWALL_ETCD") or shutil.which("etcd")
    if not path:
        raise BinaryMissingError(
            "etcd is not on PATH: install it (Debian: etcd-server) or set NODEWALL_ETCD to its path"
        )
    return Path(path)


def parse_version(text: str) -> tuple[int, int] | None:
    """The first vMAJOR.MINOR in what a program says about itself; None when there is none."""
    match = re.search(r"\bv(\d+)\.(\d+)\.", text)
    return (int(match[1]), int(match[2])) if match else None


def _existing(program: Program) -> Path | None:
    return _from_variable(program) or _from_path(program) or _cached(program)


def _from_variable(program: Program) -> Path | None:
    value = os.environ.get(program.variable)
    if not value:
        return None
    if not _fits(program, Path(value)):
        raise BinaryMissingError(
            f"{program.variable}={value}: not a {program.name} of {_dotted(program.oldest)} or newer"
        )
    return Path(value)


def _from_path(program: Program) -> Path | None:
    value = shutil.which(program.name)
    return Path(value) if value and _fits(program, Path(value)) else None


def _cached(program: Program) -> Path | None:
    path = cache() / program.name
    return path if path.exists() else None


def _fits(program: Program, path: Path) -> bool:
    try:
        version = parse_version(run([str(path), *program.version_argv], timeout=20))
    except (CommandError, OSError):
        return False
    return version is not None and version >= program.oldest


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two instances that start on a cold machine share one download or build."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(program: Program, say: Say) -> Path | None:
    """Fetch the official release of a program and check its digest; None when it cannot be reached."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return None
    url = f"{os.environ.get(_MIRROR, _RELEASES)}/{VERSION}/bin/linux/{architecture}/{program.name}"
    partial = cache() / f"{program.name}.partial"
    try:
        with _open(f"{url}.sha256") as response:
            expected = response.read().decode().split()[0]
        digest = _fetch(url, partial, say)
    except (urllib.error.URLError, OSError, IndexError) as error:
        say(f"{program.name} {VERSION}: no release download ({error})")
        partial.unlink(missing_ok=True)
        return None
    if digest != expected:
        partial.unlink()
        raise BinaryMissingError(f"{url}: its SHA-256 is {digest}, the published one {expected}")
    return _install(partial, program)


def _fetch(url: str, target: Path, say: Say) -> str:
    """Write what `url` holds to `target` and return its SHA-256, with a line of progress every ten megabytes."""
    digest = hashlib.sha256()
    done = 0
    with _open(url) as response, target.open("wb") as output:
        total = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(1 << 20):
            output.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if (done >> 20) % 10 == 0:
                say(f"{url}: {done >> 20} of {total >> 20} MiB")
    return digest.hexdigest()


def _open(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=_UNREACHABLE_AFTER)  # noqa: S310 (https, unless a mirror says otherwise)


def _install(file: Path, program: Program) -> Path:
    """Put a finished file in its place in the cache; a half-written one never has the name of the program."""
    file.chmod(0o755)
    target = cache() / program.name
    return file.replace(target)


def _build(programs: list[Program], say: Say) -> None:
    """Build programs from the Go module of Kubernetes into the cache."""
    if not programs:
        return
    go = _go(programs)
    say(f"building {', '.join(program.name for program in programs)} {VERSION} from source; once, some minutes")
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache()) as scratch:
        source = _module_source(go, Path(scratch), say)
        output = Path(scratch) / "bin"
        _compile(go, source, output, programs, say)
        for program in programs:
            _install(output / program.name, program)


def _go(programs: list[Program]) -> str:
    missing = ", ".join(f"{program.name} ({program.variable})" for program in programs)
    hint = f"put {missing} on PATH or into these variables, or install Go {_dotted(_OLDEST_GO)} or newer to build them"
    go = shutil.which("go")
    if go is None:
        raise BinaryMissingError(f"Go is not on PATH and the Kubernetes release cannot be downloaded: {hint}")
    said = run([go, "env", "GOVERSION"]).strip()
    match = re.match(r"go(\d+)\.(\d+)", said)
    if not match or (int(match[1]), int(match[2])) < _OLDEST_GO:
        raise BinaryMissingError(f"{said} at {go} is too old to build Kubernetes: {hint}")
    return go


def _module_source(go: str, scratch: Path, say: Say) -> Path:
    """A writable copy of the module, its relative `replace` lines pointed at the published modules.

    The module is not meant to be built outside its repository: it replaces its own parts by ./staging directories,
    which the published archive does not hold.
    """
    say("fetching the module k8s.io/kubernetes")
    downloaded = json.loads(run([go, "mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"], timeout=900))
    source = scratch / "source"
    shutil.copytree(downloaded["Dir"], source)
    run(["chmod", "-R", "u+w", str(source)])
    go_mod = source / "go.mod"
    go_mod.write_text(re.sub(r"=> \./staging/src/(k8s\.io/[\w-]+)", rf"=> \1 {_MODULES_VERSION}", go_mod.read_text()))
    return source


def _compile(go: str, source: Path, output: Path, programs: list[Program], say: Say) -> None:
    """Run `go build`, which names each package as it is compiled; every few seconds one line says how far it is."""
    argv = [go, "build", "-v", "-trimpath", "-ldflags", _linker_flags(), "-o", f"{output}/"]
    argv += [f"./cmd/{program.name}" for program in programs]
    env = os.environ | {"GOFLAGS": "-mod=mod", "GOWORK": "off", "CGO_ENABLED": "0"}
    said: list[str] = []
    began = spoken = time.monotonic()
    with subprocess.Popen(argv, cwd=source, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if time.monotonic() - spoken > 5:
                spoken = time.monotonic()
                say(f"{len(said)} packages fetched or compiled, {spoken - began:.0f} s")
    if process.returncode != 0:
        raise BinaryMissingError(f"go build failed with code {process.returncode}:\n{''.join(said[-20:])}")


def _linker_flags() -> str:
    """Without these an API server calls itself v0.0.0 and kubectl and kopf refuse or misjudge it."""
    major, minor = VERSION[1:].split(".")[:2]
    values = {"gitVersion": VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {p}.{key}={value}" for p in packages for key, value in values.items())])


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
