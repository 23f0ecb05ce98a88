"""The image: what is in it, and both halves started from it with what the manifests allow them and nothing else."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import Distribution, distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from e2e import netns
from e2e.cluster import Scene
from e2e.command import run
from e2e.components import ROOT, Component, Installation
from e2e.controlplane import ControlPlane
from e2e.image import Image
from e2e.instance import Instance
from e2e.local import LocalCluster
from e2e.manifests import ENTRYPOINT
from e2e.oci import ContainerRuntime
from e2e.policies import ingress, labels, port
from e2e.probe import tcp
from e2e.rootfs import Bind
from e2e.table import Table, await_table

MEGABYTES = 250
NET_ADMIN = 1 << 12
ONLY_STATE = {"/var/lib/nodewall"}
EPERM, EACCES, EROFS, ENOSYS = 1, 13, 30, 38


def files(built: Image) -> Iterator[Path]:
    for directory, _, names in os.walk(built.root):
        yield Path(directory)
        yield from (Path(directory, name) for name in names)


def packages(built: Image) -> dict[str, Distribution]:
    (site,) = built.root.glob("opt/nodewall/lib/python3*/site-packages")
    return {_normal(each.metadata["Name"]): each for each in distributions(path=[str(site)])}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# -- the Dockerfile, as it is read


def test_every_stage_is_on_one_base_pinned_by_date() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)[0] == "debian:trixie-20251117-slim"
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}"] * 2
    assert "@sha256:" in text.partition("ARG")[0], "whoever builds is told to add the digest"


def test_whatever_is_installed_is_locked_or_comes_from_no_index() -> None:
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip [^&\n]*\b(?:install|wheel) [^&\n]*", joined)
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)


# -- what is in the image


def test_nothing_in_it_raises_privileges(built: Image) -> None:
    raising = [path for path in files(built) if not path.is_symlink() and path.stat().st_mode & 0o6000]
    capable = [path for path in files(built) if "security.capability" in os.listxattr(path, follow_symlinks=False)]
    assert raising == capable == []


def test_nobody_but_root_can_write_to_it(built: Image) -> None:
    """Its devices aside: a runtime mounts its own /dev over them."""
    kept = [path for path in files(built) if path.is_file() or path.is_dir()]
    exposed = [path for path in kept if not path.is_symlink() and (path.stat().st_mode & 0o022 or path.stat().st_uid)]
    open_to_all = {str(Path("/", path.relative_to(built.root))) for path in exposed}
    assert open_to_all <= {"/tmp", "/var/tmp", "/run/lock", "/var/local", "/var/mail"}  # noqa: S108 - of the image


def test_it_runs_as_nobody_and_starts_what_the_manifests_start(built: Image) -> None:
    assert built.user == "65532:65532"
    assert built.entrypoint == ENTRYPOINT
    assert built.env["PATH"].split(":")[0] == "/opt/nodewall/bin"


def test_its_packages_are_those_of_the_lock(built: Image) -> None:
    lock = (ROOT / "requirements/run.txt").read_text()
    locked = {_normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)}
    found = {name: each.version for name, each in packages(built).items()}
    assert found.pop("nodewall")
    assert found == locked


def test_the_sources_in_it_are_those_of_this_checkout(built: Image) -> None:
    (site,) = built.root.glob("opt/nodewall/lib/python3*/site-packages/nodewall")
    here = ROOT / "operator/nodewall"
    sources = {path.relative_to(here) for path in here.rglob("*.py")}
    assert {path.relative_to(site) for path in site.rglob("*.py")} == sources
    compiled = {path.relative_to(site) for path in site.rglob("*.pyc")}
    tag = site.parent.parent.name.replace("python3.", "cpython-3")
    assert compiled == {path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources}


def test_nothing_is_left_of_building_it(built: Image) -> None:
    leftovers = ["src", "wheels", "root/.cache", "etc/pip.conf", "run/secrets", "usr/bin/pip3", "usr/bin/gcc"]
    leftovers += ["opt/nodewall/bin/pip", "opt/nodewall/bin/activate"]
    assert [name for name in leftovers if (built.root / name).exists()] == []
    for directory in ("var/lib/apt/lists", "var/cache/apt", "var/log", "tmp", "var/tmp"):
        assert list((built.root / directory).iterdir()) == [], directory


def test_it_is_small(built: Image, record_property: Callable[[str, object], None]) -> None:
    megabytes = sum(path.lstat().st_blocks for path in files(built)) * 512 / 1e6
    record_property("megabytes", round(megabytes))
    assert megabytes < MEGABYTES


# -- both halves, started from it


@pytest.fixture(scope="module")
def installation(containers: ContainerRuntime) -> Iterator[Installation]:
    """Both halves in a cluster of their own, from the image."""
    instance = Instance.named(f"i{os.getpid()}"[:10])
    instance.claim()
    try:
        control_plane = ControlPlane.start(instance)
        cluster = LocalCluster.start(control_plane, "routed")
        installed = Installation.install(cluster, runtime=containers)
        try:
            installed.start()
            yield installed
        finally:
            installed.remove()
            cluster.end()
            control_plane.end()
    finally:
        instance.remove()


def test_a_policy_is_enforced(installation: Installation) -> None:
    cluster = installation.cluster
    with Scene(cluster) as scene:
        scene.namespace("shop")
        scene.pod("shop/web", node=0, app="web")
        scene.pod("shop/till", node=0, app="till")
        scene.pod("shop/stranger", node=1)
        scene.apply(ingress("shop", "till", {"from": [{"podSelector": labels(app="till")}], "ports": port(80)}))
        table = Table.of(scene.endpoints(), (tcp(80), tcp(81))).closed()
        await_table(cluster.prober, table.opened(source="shop/till", port=tcp(80)))


def test_the_nodes_own_nft_reads_what_the_image_has_written(installation: Installation) -> None:
    """Whatever version each has: 1.0.6 died of sets as 1.1.3 declares them by itself."""
    for node in installation.cluster.topology.nodes.values():
        inside = netns.argv(node.namespace)
        assert run([*inside, "nft", "list", "tables"]) == "table inet nodewall\n"
        assert "vmap @" in run([*inside, "nft", "list", "ruleset"])


@pytest.mark.parametrize(("half", "uid", "capabilities"), [("controller", 65532, 0), ("agent", 0, NET_ADMIN)])
def test_the_running_process_is_confined(installation: Installation, half: str, uid: int, capabilities: int) -> None:
    for component in installation.of(half):
        status = _status(component)
        assert status["Uid"] == [str(uid)] * 4
        assert int(status["CapEff"][0], 16) == int(status["CapPrm"][0], 16) == int(status["CapBnd"][0], 16)
        assert int(status["CapEff"][0], 16) == capabilities
        assert int(status["CapInh"][0], 16) == int(status["CapAmb"][0], 16) == 0
        assert status["NoNewPrivs"] == ["1"]
        assert status["Seccomp"] == ["2"], "a filter"
        assert component.container.argv[0] == "nodewall"


@pytest.mark.parametrize(("half", "writable"), [("controller", set()), ("agent", ONLY_STATE)])
def test_what_such_a_process_cannot_do(installation: Installation, half: str, writable: set[str]) -> None:
    tried = _try_all(installation.of(half)[0])
    assert {path for path, error in tried["write"].items() if not error} == writable
    assert {error for error in tried["write"].values() if error} <= {EROFS, EACCES}
    assert set(tried["call"].values()) <= {EPERM, ENOSYS}, tried["call"]
    assert tried["shell"] == EACCES


def _status(component: Component) -> dict[str, list[str]]:
    """/proc/PID/status of the process in the container, which is the last of its line."""
    assert component.process
    pid = component.process.identity.pid
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        (pid,) = map(int, children)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def _try_all(component: Component) -> dict[str, Any]:
    """What the attempts end with, made by another container that is made like that of a component."""
    container = replace(component.container, argv=("/opt/nodewall/bin/python", "-c", ATTEMPTS))
    node = netns.argv(component.cluster.topology.nodes[component.node].namespace)
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        state = Path(place, "state")
        state.mkdir()
        binds = [Bind(state, Path(mount.path), mount.read_only) for mount in container.mounts]
        said = run([*node, *component.runtime.argv(container, binds, Path(place))])
    result: dict[str, Any] = json.loads(said)
    return result


ATTEMPTS = """
import ctypes, json, os, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)

def write(path):
    try:
        os.open(path, os.O_TMPFILE | os.O_WRONLY) if os.path.isdir(path) else os.open(path, os.O_WRONLY)
    except OSError as error:
        return error.errno
    return 0

def call(function, *arguments):
    ctypes.set_errno(0)
    return ctypes.get_errno() if function(*arguments) == -1 else 0

def python(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0

paths = ["/", "/etc", "/opt/nodewall", "/run", "/tmp", "/usr", "/var", "/var/lib/nodewall", "/var/tmp"]
paths += ["/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/sys/fs"]
init_module, keyctl = {"x86_64": (175, 250), "aarch64": (105, 219)}[os.uname().machine]
print(json.dumps({
    "write": {path: write(path) for path in paths if os.path.exists(path)},
    "call": {
        "another user": python(os.setuid, 1),
        "a raw socket": python(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1),
        "a user namespace": call(libc.unshare, 0x10000000),
        "another namespace": call(libc.setns, 0, 0),
        "a mount": call(libc.mount, b"x", b"/tmp", b"tmpfs", 0, None),
        "a device": python(os.mknod, "/dev/shm/x", 0o20600, os.makedev(1, 3)),
        "another root": python(os.chroot, "/"),
        "a kernel module": call(libc.syscall, init_module, 0, 0, b""),
        "the key ring (seccomp alone)": call(libc.syscall, keyctl, 0, 0, 0),
        "someone else's file": python(os.chown, "/dev/shm", 1, 1),
    },
    "shell": python(subprocess.call, ["/bin/sh", "-c", "true"]),
}))
"""
