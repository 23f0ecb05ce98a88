"""What a manifest says about running its one container, as values; pure but for reading the files.

Only what our manifests may contain is understood. Anything else is refused by name: to leave out silently what a
kubelet would do is to test something else than what users install.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.api import Object

ENTRYPOINT = ("nodewall",)  # of the image

_KNOWN_VOLUMES = {"hostPath", "emptyDir"}
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class ManifestError(Exception):
    """A manifest asks for something that the harness does not do."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or a DaemonSet."""

    kind: str
    namespace: str
    name: str
    template: Object
    replicas: int = 1

    @property
    def service_account(self) -> str:
        """The ServiceAccount that its pods run as."""
        return str(self.template["spec"].get("serviceAccountName", "default"))


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume in the container. `host_path` is that of a hostPath, None for an emptyDir."""

    volume: str
    path: str
    host_path: str | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Where a container answers whether it is ready; `host` is empty for the pod's address."""

    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Container:
    """How to run a container: `capabilities` None means all of them, else exactly these (net_admin)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    uid: int
    gid: int
    capabilities: tuple[str, ...] | None
    read_only_root: bool
    may_gain_privileges: bool
    readiness: HttpProbe | None


def read_workloads(directory: Path) -> list[Workload]:
    """The Deployments and DaemonSets of the YAML files in a directory, in the order in which kubectl applies them."""
    documents = (doc for file in _files(directory) for doc in yaml.safe_load_all(file.read_text()) if doc)
    return [_workload(doc) for doc in documents if doc["kind"] in ("Deployment", "DaemonSet")]


def has_manifests(directory: Path) -> bool:
    """Whether there is anything to apply."""
    return any(_files(directory))


def container_of(pod: Object, fixed_env: Mapping[str, str]) -> Container:
    """How to run the container of a pod that has its node and addresses; `fixed_env` is what every pod gets.

    Raises ManifestError, which names the field.
    """
    spec = pod["spec"]
    _refuse(spec.get("initContainers"), "spec.initContainers")
    _refuse(len(spec["containers"]) != 1, "more than one container")
    _refuse(not spec.get("hostNetwork"), "a pod that is not on the host network")
    container = spec["containers"][0]
    _refuse(container.get("envFrom"), "envFrom")
    env = _environment(container, pod, fixed_env)
    command = [*container.get("command", ENTRYPOINT), *container.get("args", ())]
    security = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    return Container(
        argv=tuple(expand(word, env) for word in command),
        env=env,
        mounts=tuple(_mounts(spec, container)),
        uid=security.get("runAsUser", 0),
        gid=security.get("runAsGroup", security.get("runAsUser", 0)),
        capabilities=_capabilities(security),
        read_only_root=security.get("readOnlyRootFilesystem", False),
        may_gain_privileges=security.get("allowPrivilegeEscalation", True),
        readiness=_readiness(container),
    )


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) as Kubernetes does: an unknown name stays as it is written, $$ is one dollar sign."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else env.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))


def _workload(doc: Object) -> Workload:
    metadata = doc["metadata"]
    spec = doc["spec"]
    return Workload(doc["kind"], metadata["namespace"], metadata["name"], spec["template"], spec.get("replicas", 1))


def _environment(container: Object, pod: Object, fixed_env: Mapping[str, str]) -> dict[str, str]:
    env = dict(fixed_env)
    for entry in container.get("env", ()):
        if "valueFrom" in entry:
            env[entry["name"]] = _field(entry["valueFrom"], pod)
        else:
            env[entry["name"]] = expand(entry.get("value", ""), env)
    return env


def _field(source: Mapping[str, Any], pod: Object) -> str:
    """The value of a fieldRef (the only source of a variable that we use)."""
    _refuse("fieldRef" not in source, f"env valueFrom {', '.join(source)}")
    path = source["fieldRef"]["fieldPath"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    if path == "status.podIPs":
        return ",".join(each["ip"] for each in pod["status"]["podIPs"])
    value: Any = pod
    for key in path.split("."):
        _refuse(key not in value, f"fieldPath {path}")
        value = value[key]
    return str(value)


def _mounts(spec: Object, container: Object) -> Iterator[Mount]:
    volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
    for mount in container.get("volumeMounts", ()):
        volume = volumes[mount["name"]]
        kinds = set(volume) - {"name"}
        if mount["mountPath"].startswith("/var/run/secrets/kubernetes.io"):
            continue  # admission's own volume with the token, which is mounted anyway
        _refuse(kinds - _KNOWN_VOLUMES, f"volume {volume['name']} of kind {', '.join(kinds)}")
        _refuse(mount.get("subPath"), "subPath")
        host_path = volume["hostPath"]["path"] if "hostPath" in volume else None
        yield Mount(volume["name"], mount["mountPath"], host_path, mount.get("readOnly", False))


def _capabilities(security: Mapping[str, Any]) -> tuple[str, ...] | None:
    if security.get("privileged"):
        return None
    wanted = security.get("capabilities", {})
    _refuse(wanted.get("drop") != ["ALL"], "a container that does not drop ALL capabilities")
    return tuple(sorted(name.lower() for name in wanted.get("add", ())))


def _readiness(container: Object) -> HttpProbe | None:
    probe = container.get("readinessProbe")
    if probe is None:
        return None
    _refuse("httpGet" not in probe, "a readinessProbe other than httpGet")
    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", ())}
    port = probe["httpGet"]["port"]
    number = ports[port] if isinstance(port, str) else port
    return HttpProbe(probe["httpGet"].get("host", ""), number, probe["httpGet"].get("path", "/"))


def _refuse(condition: object, what: str) -> None:
    if condition:
        raise ManifestError(f"not supported by the harness: {what}")
