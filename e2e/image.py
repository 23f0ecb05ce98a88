"""The image, built from the Dockerfile without an engine: buildah in a root file system of Debian, on a base made here.

What a build has made is kept as buildah's layers in the cache, so that the next one does only what has changed. The
base is made by debootstrap from the packages of Debian's own `-slim` image; the published one is not fetched.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e import debian, pip_settings
from e2e.binaries import Say
from e2e.command import run
from e2e.rootfs import Bind

# netavark is only looked for by buildah: everything here has the host's network.
TOOLS = ("buildah", "crun", "netavark")

_SOURCE = Path(__file__).resolve().parent.parent
_CONTEXT = Path("/run/context")
_STORAGE = Path("/run/storage")
_OUTPUT = Path("/run/output")
_SCRATCH = Path("/var/tmp")  # noqa: S108 - of its own
_NAME = "localhost/nodewall"
_BUILD_STAGE = "localhost/nodewall-build"  # keeps the layers of the first stage from being pruned

# Lower than any machine's own: raising one needs a privilege that a container may not have.
_LIMITS = ("--ulimit=nofile=1024:4096", "--ulimit=nproc=1024:4096")


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its file system, not to be written to, and what it says about running it."""

    root: Path
    entrypoint: tuple[str, ...]
    env: Mapping[str, str]
    user: str


@contextmanager
def built(say: Say) -> Iterator[Image]:
    """The image of these sources, its file system in a directory that goes afterwards. Raises CommandError."""
    tools = debian.provide(TOOLS, say)
    base = debian.provide((), say)
    with TemporaryDirectory(prefix="nodewall-image-") as place:
        with debian.one_at_a_time(), pip_settings.as_binds() as pip:
            image = _build(_Store(tools), base, pip, Path(place))
        yield image


def _build(store: "_Store", base: Path, pip: Sequence[Bind], place: Path) -> Image:
    tag = f"localhost/{base.name}"
    if not store.has(tag):
        store.make_base(tag, base)
    for target in ("--target=build", f"--tag={_BUILD_STAGE}"), (f"--tag={_NAME}",):
        store.build(tag, target, pip)
    store.prune()
    store.export(place)
    return store.described(place)


@dataclass(frozen=True, slots=True)
class _Store:
    """buildah's storage, used through a root that has buildah."""

    tools: Path

    def has(self, image: str) -> bool:
        return image in self._run(["images", "--format={{.Name}}"]).split()

    def make_base(self, tag: str, root: Path) -> None:
        """Make an image of one layer from a root."""
        add = '"$@" add -q "$c" /run/base /; "$@" commit -q --rm "$c" ' + tag
        self._script(f'c=$("$@" from --network=host scratch); {add}', [Bind(root, Path("/run/base"))])

    def build(self, base: str, options: Sequence[str], pip: Sequence[Bind]) -> None:
        """Run the steps of the Dockerfile that are new."""
        secrets = [f"--secret=id={bind.target.name},src={bind.target}" for bind in pip]
        fixed = ["--layers", "--pull=never", "--network=host", "--isolation=chroot", *_LIMITS]
        proxies = [f"--build-arg={name}={value}" for name, value in debian.proxies().items()]
        argv = ["build", *fixed, f"--build-arg=BASE={base}", *proxies, *secrets, *options, str(_CONTEXT)]
        self._run(argv, [Bind(_SOURCE, _CONTEXT, read_only=True), *pip])

    def prune(self) -> None:
        """Remove the layers of former sources, and what a build that failed has left."""
        self._run(["rm", "--all"])
        self._run(["rmi", "--prune", "--force"])

    def export(self, directory: Path) -> None:
        """Copy the file system of the image to a directory."""
        copy = 'cp -a "$("$@" mount "$c")/." ' + str(_OUTPUT)
        self._script(f'c=$("$@" from --network=host {_NAME}); {copy}; "$@" rm "$c"', [Bind(directory, _OUTPUT)])

    def described(self, root: Path) -> Image:
        """What the image says about itself."""
        config = json.loads(self._run(["inspect", "--type=image", _NAME]))["OCIv1"]["config"]
        env = dict(entry.split("=", 1) for entry in config["Env"])
        return Image(root, tuple(config["Entrypoint"]), env, config["User"])

    def _run(self, arguments: Sequence[str], binds: Sequence[Bind] = ()) -> str:
        return self._inside([*_buildah(), *arguments], binds)

    def _script(self, script: str, binds: Sequence[Bind]) -> str:
        """Run a script whose arguments are buildah with its options."""
        return self._inside(["sh", "-ec", script, "sh", *_buildah()], binds)

    def _inside(self, command: Sequence[str], binds: Sequence[Bind]) -> str:
        storage = debian.cache() / "storage"
        scratch = storage / "tmp"  # whole layers pass through it: on a disk, not in memory
        scratch.mkdir(parents=True, exist_ok=True)
        own = [Bind(storage, _STORAGE), Bind(scratch, _SCRATCH)]
        return debian.run_inside(self.tools, command, [*own, *binds], {"TMPDIR": str(_SCRATCH)})


def _buildah() -> list[str]:
    return ["buildah", f"--root={_STORAGE}", "--runroot=/run/containers", f"--storage-driver={_driver()}"]


def _driver() -> str:
    """An overlay cannot lie on an overlay, which is what a container's own disk is."""
    on_overlay = run(["stat", "--file-system", "--format=%T", str(debian.cache())]).strip() == "overlayfs"
    return "vfs" if on_overlay else "overlay"
