"""Fixtures: one control plane per session, one cluster per datapath (or the one that E2E_KUBECONFIG leads to).

A test that takes `cluster` or `scene` runs once per kind of cluster; one that takes `local_cluster` needs what only
network namespaces of our own allow, and is not collected for somebody else's cluster.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from e2e import image
from e2e.cluster import Cluster, Scene
from e2e.components import Installation
from e2e.controlplane import ControlPlane
from e2e.image import Image
from e2e.instance import Instance, sweep_abandoned
from e2e.local import LocalCluster
from e2e.oci import ContainerRuntime
from e2e.remote import RemoteCluster
from e2e.topology import DATAPATHS

_LOCAL_ONLY = {"built", "local_cluster", "control_plane", "instance"}
_LOG_LINES = 25
_INSTANCE = pytest.StashKey[Instance]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what takes a cluster once per kind of cluster."""
    if "cluster" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("datapath")
        kinds = ["remote"] if _kubeconfig() else list(only.args if only else DATAPATHS)
        metafunc.parametrize("cluster", kinds, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # before pytest groups the items by cluster
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything in this directory, and leave out what the cluster at hand cannot do.

    The harness proves itself first, while no engine judges packets in its clusters.
    """
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    items.sort(key=lambda item: (item in here, item.path.name != "test_harness.py"))
    for item in here:
        item.add_marker(pytest.mark.e2e)
    if _kubeconfig():
        left_out = [item for item in here if _LOCAL_ONLY & set(getattr(item, "fixturenames", ()))]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each log with a failure; the files go with the session."""
    report = yield
    instance = item.config.stash.get(_INSTANCE, None)
    if report.failed and instance:
        for log in sorted((instance.state / "logs").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            report.sections.append((f"end of {log.name}", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def instance(request: pytest.FixtureRequest) -> Iterator[Instance]:
    """The names and the state of this session; nothing of it is left afterwards."""
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", returncode=2)
    sweep_abandoned()
    instance = Instance.from_environment(f"t{os.getpid()}")
    instance.claim()
    request.config.stash[_INSTANCE] = instance
    try:
        yield instance
    finally:
        instance.remove()


@pytest.fixture(scope="session")
def control_plane(instance: Instance, request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    say = reporter.write_line if reporter else print
    control_plane = ControlPlane.start(instance, say=say)
    try:
        yield control_plane
    finally:
        control_plane.end()


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Iterator[Image]:
    """The image of these sources."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    with image.built(reporter.write_line if reporter else print) as made:
        yield made


@pytest.fixture(scope="session")
def containers(built: Image) -> ContainerRuntime:
    """What starts containers of that image, its shells hidden: nothing may need one."""
    return ContainerRuntime.of(built, print, [f"/usr/bin/{name}" for name in ("bash", "dash", "rbash", "sh")])


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes that route, then two that bridge; or somebody's cluster."""
    if request.param == "remote":
        remote = RemoteCluster.start(_kubeconfig())
        try:
            yield remote
        finally:
            remote.end()
        return
    local = LocalCluster.start(request.getfixturevalue("control_plane"), request.param)
    try:
        yield local
    finally:
        local.end()


@pytest.fixture
def local_cluster(cluster: Cluster, instance: Instance) -> LocalCluster:
    """The same cluster, where it is ours."""
    assert isinstance(cluster, LocalCluster)
    return cluster


@pytest.fixture
def scene(cluster: Cluster) -> Iterator[Scene]:
    """What this test makes in the cluster."""
    with Scene(cluster) as scene:
        yield scene


def _kubeconfig() -> str:
    return os.environ.get("E2E_KUBECONFIG", "")


@pytest.fixture(scope="session")
def engine(cluster: Cluster) -> Iterator[Installation | None]:
    """nodewall in the cluster, from `kubectl apply -f manifests/`; None where somebody else has installed it."""
    if not isinstance(cluster, LocalCluster):
        yield None
        return
    installation = Installation.install(cluster)
    try:
        installation.start()
        yield installation
    finally:
        installation.remove()


@pytest.fixture
def policed(engine: Installation | None, scene: Scene) -> Scene:
    """A scene in a cluster where policies are enforced."""
    return scene
