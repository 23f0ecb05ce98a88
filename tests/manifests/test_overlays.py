"""overlays/: what each changes, and nothing else, down to what the process is told by it."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import binaries
from e2e.command import run
from e2e.controlplane import ControlPlane
from e2e.manifests import container_of
from nodewall import __version__
from nodewall.agent import options as agent
from nodewall.agent.options import Established
from nodewall.controller import options as controller
from nodewall.model.cluster import LogWish
from nodewall.render import NewPodPolicy
from tests.manifests.documents import CRDS, MANIFESTS, ROOT, documents

OVERLAYS = ROOT / "overlays"
INSTALL = (ROOT / "docs/install.md").read_text()
AGENT, CONTROLLER = ("DaemonSet", "nodewall-agent"), ("Deployment", "nodewall-controller")
CHANGES: dict[str, tuple[tuple[str, str], str, Any]] = {
    "deny-log-off": (CONTROLLER, "log_default", LogWish.NONE),
    "guard-off": (AGENT, "new_pods", NewPodPolicy.ALLOW),
    "strict": (AGENT, "established", Established.STRICT),
}
"""Overlay -> the workload that it changes, the option, its value."""

Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def kubectl() -> str:
    return str(binaries.provide((binaries.KUBECTL,), print)["kubectl"])


def built(kubectl: str, folder: Path) -> Objects:
    """What `kubectl apply -k` would apply."""
    found = yaml.safe_load_all(run([kubectl, "kustomize", str(folder)], env=dict(os.environ)))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def told(workload: dict[str, Any]) -> Any:
    """The options of a workload's process."""
    pod = {
        "metadata": {"name": "p", "namespace": "nodewall-system"},
        "spec": {**workload["spec"]["template"]["spec"], "nodeName": "node-1"},
    }
    container = container_of(pod, {})
    read = {"agent": agent.agent, "controller": controller.controller}[container.argv[1]]
    return read(container.argv[2:], container.env)


def fields(of: Any) -> Iterator[tuple[str, Any]]:
    yield from ((name, getattr(of, name)) for name in type(of).__slots__)


def test_each_overlay_is_tried_here() -> None:
    assert {folder.name for folder in OVERLAYS.iterdir()} == set(CHANGES)


def test_the_base_is_what_is_applied_without_kustomize(kubectl: str) -> None:
    assert built(kubectl, MANIFESTS) == {(each.kind, each.name): each.body for each in documents()}


@pytest.mark.parametrize("folder", [MANIFESTS, CRDS], ids=lambda folder: folder.name)
def test_the_base_names_every_file(folder: Path) -> None:
    named = yaml.safe_load((folder / "Kustomization").read_text())["resources"]
    own = sorted(file.name for file in folder.glob("*.yaml") if not file.is_symlink())
    assert [name for name in named if name != "../crds"] == own


@pytest.mark.parametrize(("overlay", "change"), CHANGES.items(), ids=CHANGES)
def test_an_overlay_changes_one_option_of_one_process(
    kubectl: str, overlay: str, change: tuple[tuple[str, str], str, Any]
) -> None:
    changed, option, value = change
    base, result = built(kubectl, MANIFESTS), built(kubectl, OVERLAYS / overlay)
    assert {key for key in base.keys() | result.keys() if base.get(key) != result.get(key)} == {changed}
    before, after = dict(fields(told(base[changed]))), dict(fields(told(result[changed])))
    assert {name: after[name] for name in after if after[name] != before[name]} == {option: value}
    env = result[changed]["spec"]["template"]["spec"]["containers"][0].pop("env")
    was = base[changed]["spec"]["template"]["spec"]["containers"][0].pop("env")
    assert base[changed] == result[changed], "the environment is all that differs"
    assert [each for each in env if each in was] == was


def test_the_documents_own_overlay_is_one(kubectl: str, tmp_path: Path) -> None:
    """Of docs/install.md, in the place that it names."""
    (text,) = re.findall(r"^```yaml\n# overlays/ours/kustomization.yaml\n(.*?)^```$", INSTALL, re.MULTILINE | re.DOTALL)
    for folder in (MANIFESTS, CRDS):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    ours = tmp_path / "overlays/ours"
    ours.mkdir(parents=True)
    (ours / "kustomization.yaml").write_text(text)
    base, result = built(kubectl, MANIFESTS), built(kubectl, ours)
    assert {key for key in base if base[key] != result[key]} == {AGENT, CONTROLLER}
    chosen = told(result[AGENT])
    assert (chosen.established, chosen.new_pods) == (Established.STRICT, NewPodPolicy.REJECT)
    for workload in (AGENT, CONTROLLER):
        (container,) = result[workload]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"registry.example/nodewall:{__version__}"


def differing(server: ControlPlane, *words: str) -> list[str]:
    """What an apply changes, the budget aside: see test_installation.py."""
    said = server.kubectl("apply", "--validate=strict", *words).splitlines()
    assert len(said) == len(documents())
    return [line for line in said if not line.startswith("poddisruptionbudget") and " unchanged" not in line]


@pytest.mark.e2e
@pytest.mark.parametrize(("overlay", "change"), CHANGES.items(), ids=CHANGES)
def test_the_api_server_takes_an_overlay(
    installed: ControlPlane, overlay: str, change: tuple[tuple[str, str], str, Any]
) -> None:
    ((kind, name), _, _) = change
    expected = f"{kind.lower()}.apps/{name} configured (server dry run)"
    assert differing(installed, "--dry-run=server", "-k", str(OVERLAYS / overlay)) == [expected]


@pytest.mark.e2e
def test_an_overlay_is_applied_and_taken_back(installed: ControlPlane) -> None:
    strict, changed = str(OVERLAYS / "strict"), ["daemonset.apps/nodewall-agent configured"]
    assert differing(installed, "-k", strict) == changed
    assert differing(installed, "-k", strict) == []
    assert differing(installed, "-f", str(MANIFESTS)) == changed
