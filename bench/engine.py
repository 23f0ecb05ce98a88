"""A cluster with the engine in it: a real API server, the controller and two agents, each on a node of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.components import Installation
from e2e.controlplane import ControlPlane
from e2e.instance import Instance
from e2e.local import LocalCluster


@contextmanager
def engine() -> Iterator[LocalCluster]:
    """The cluster; gone at the end."""
    with installed() as installation:
        yield installation.cluster


@contextmanager
def installed() -> Iterator[Installation]:
    """The same, with the processes in hand."""
    instance = Instance.from_environment("bench")
    instance.claim()
    try:
        cluster = LocalCluster.start(ControlPlane.start(instance), "routed")
        installation = Installation.install(cluster)
        installation.start()
        yield installation
    finally:
        instance.remove()
