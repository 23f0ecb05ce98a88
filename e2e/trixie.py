"""What depends on libnftables' or Python's version, run once more with those of Debian 13: `make test-trixie`.

The tests run as they are, inside a root file system with a virtual environment of its own from the same lock; the
kernel is the machine's.
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e import debian, pip_settings
from e2e.binaries import Say
from e2e.rootfs import Bind

PACKAGES = (
    "conntrack",
    "ipset",
    "iproute2",
    "iptables",
    "nftables",
    "openssl",
    "procps",
    "python3-nftables",
    "python3-venv",
)
# Everything that hands libnftables something, what the image's Python writes and reads, and its command line. Rendering
# is pure; what it renders is loaded by the kernel tests.
TESTS = ("tests/agent", "tests/api", "tests/cli", "tests/kernel")

_ROOT = Path(__file__).resolve().parent.parent
_SOURCE = Path("/run/source")
_VENV = Path("/run/venv")


def main(arguments: Sequence[str]) -> int:
    """Run pytest with these arguments; when they name no test, on all that belong here. Returns its exit code."""
    named = any(not each.startswith("-") for each in arguments)
    tests = () if named else TESTS
    command = [str(_VENV / "bin/python"), "-m", "pytest", "-p", "no:cacheprovider", *arguments, *tests]
    return subprocess.run(inside(command), check=False).returncode


def inside(command: Sequence[str], say: Say = print) -> list[str]:
    """The command line that runs a command in the root, in this source tree; made first where they are missing."""
    root = debian.provide(PACKAGES, say)
    venv = _environment(root, say)
    binds = [Bind(_ROOT, _SOURCE), Bind(venv, _VENV)]
    return debian.argv(root, ["env", "-C", str(_SOURCE), *command], binds)


def _environment(root: Path, say: Say) -> Path:
    """The virtual environment of the lock, named by what it is made from; the source tree is a path in it."""
    lock = _ROOT / "requirements/dev.txt"
    name = hashlib.sha256(f"{root.name}\n{lock.read_text()}".encode()).hexdigest()[:12]

    def make(partial: Path) -> None:
        say(f"making a virtual environment from {lock.name} for Debian {debian.SUITE}; once, about a minute")
        with pip_settings.as_binds() as binds:
            binds += [Bind(partial, _VENV), Bind(lock, Path("/run/lock.txt"), read_only=True)]
            env = {"PIP_CONFIG_FILE": str(pip_settings.CONFIGURATION)}
            debian.run_inside(root, ["sh", "-ec", _INSTALL], binds, env)

    return debian.made_once(debian.cache() / f"venv-{name}", make)


_INSTALL = f"""
/usr/bin/python3 -m venv {_VENV}
{_VENV}/bin/pip install -q --no-input --disable-pip-version-check --no-cache-dir --require-hashes -r /run/lock.txt
site=$({_VENV}/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ln -s /usr/lib/python3/dist-packages/nftables "$site/nftables"
echo {_SOURCE}/operator >"$site/nodewall.pth"
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
