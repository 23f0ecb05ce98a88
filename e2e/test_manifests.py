"""Reading manifests: what a kubelet would do is done, what the harness does not do is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.manifests import HttpProbe, ManifestError, Mount, container_of, expand, has_manifests, read_workloads

POD = """
metadata:
  name: agent-1
  namespace: sys
  labels: {app: agent}
spec:
  nodeName: node-1
  hostNetwork: true
  securityContext: {runAsUser: 7, runAsGroup: 8}
  volumes:
  - {name: state, hostPath: {path: /var/lib/x}}
  - {name: scratch, emptyDir: {}}
  - {name: kube-api-access, projected: {sources: []}}
  containers:
  - name: main
    args: [agent, --node=$(NODE)]
    env:
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: BOTH, value: $(NODE)/$(APP)}
    ports: [{name: health, containerPort: 99}]
    readinessProbe: {httpGet: {host: 127.0.0.1, port: health, path: /readyz}}
    securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_ADMIN]}}
    volumeMounts:
    - {name: state, mountPath: /var/lib/x}
    - {name: scratch, mountPath: /scratch, readOnly: true}
    - {name: kube-api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}
status:
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
"""


def pod() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(POD)
    return loaded


def test_a_container_is_what_its_pod_says() -> None:
    container = container_of(pod(), {"HOME": "/"})
    assert container.argv == ("nodewall", "agent", "--node=node-1")
    assert container.env == {"HOME": "/", "NODE": "node-1", "APP": "agent", "BOTH": "node-1/agent"}
    assert container.mounts == (
        Mount("state", "/var/lib/x", "/var/lib/x", read_only=False),
        Mount("scratch", "/scratch", None, read_only=True),
    )
    assert (container.uid, container.gid) == (0, 8), "the container's own security context wins over the pod's"
    assert container.capabilities == ("net_admin",)
    assert not container.may_gain_privileges
    assert not container.read_only_root
    assert container.readiness == HttpProbe("127.0.0.1", 99, "/readyz")


@pytest.mark.parametrize(
    ("text", "result"),
    [("$(A)", "1"), ("x$(A)y$(A)", "x1y1"), ("$(B)", "$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$$$(A)", "$1")],
)
def test_variables_are_replaced_as_kubernetes_does(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda pod: pod["spec"].update(hostNetwork=False), "not on the host network"),
        (lambda pod: pod["spec"].update(initContainers=[{}]), "initContainers"),
        (lambda pod: pod["spec"]["containers"].append({}), "more than one container"),
        (lambda pod: pod["spec"]["containers"][0].update(envFrom=[{}]), "envFrom"),
        (lambda pod: pod["spec"]["volumes"][0].update(configMap={}), "volume state of kind"),
        (lambda pod: pod["spec"]["containers"][0]["volumeMounts"][0].update(subPath="x"), "subPath"),
        (lambda pod: pod["spec"]["containers"][0]["securityContext"].update(capabilities={}), "drop ALL"),
        (lambda pod: pod["spec"]["containers"][0].update(readinessProbe={"exec": {}}), "other than httpGet"),
        (
            lambda pod: pod["spec"]["containers"][0]["env"].append({"name": "S", "valueFrom": {"secretKeyRef": {}}}),
            "env valueFrom secretKeyRef",
        ),
        (
            lambda pod: pod["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"].update(fieldPath="spec.x"),
            "fieldPath spec.x",
        ),
    ],
)
def test_what_is_not_done_is_refused(change: Any, named: str) -> None:
    changed = pod()
    change(changed)
    with pytest.raises(ManifestError, match=named):
        container_of(changed, {})


def test_workloads_are_found_in_all_documents(tmp_path: Path) -> None:
    assert not has_manifests(tmp_path)
    (tmp_path / "b.yaml").write_text(
        "kind: Namespace\n---\nkind: DaemonSet\nmetadata: {name: d, namespace: n}\n"
        "spec: {template: {spec: {serviceAccountName: s}}}\n---\n"
    )
    (tmp_path / "a.yml").write_text(
        "kind: Deployment\nmetadata: {name: c, namespace: n}\nspec: {replicas: 2, template: {spec: {}}}\n"
    )
    (tmp_path / "README.md").write_text("kind: Deployment")
    found = [(each.kind, each.name, each.service_account, each.replicas) for each in read_workloads(tmp_path)]
    assert found == [("Deployment", "c", "default", 2), ("DaemonSet", "d", "s", 1)]
    assert has_manifests(tmp_path)
