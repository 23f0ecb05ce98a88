"""The YAML of docs/install.md. What an API server serves is held to one by e2e/test_documents.py, the rest is here."""

from typing import Any

import yaml

from tests.docs.documents import ROOT, blocks

INSTALL = ROOT / "docs/install.md"
FIELDS = {
    "Cluster": {"kind", "apiVersion", "networking", "nodes"},
    "ClusterConfiguration": {"kind", "apiVersion", "networking"},
    "KubeProxyConfiguration": {"kind", "apiVersion", "mode"},
}
ELSEWHERE = {"Kustomization"}
"""Built by tests/manifests/."""
"""Of the files that the installers read, as their documents name them."""


def documents() -> list[dict[str, Any]]:
    texts = [block.text for block in blocks(INSTALL) if block.language == "yaml"]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def the(kind: str) -> dict[str, Any]:
    (found,) = (each for each in documents() if each.get("kind") == kind)
    return found


def test_every_document_can_be_read_and_is_of_a_known_kind() -> None:
    kinds = {each.get("kind", "") for each in documents()}
    assert kinds - ELSEWHERE == {"", *FIELDS, "Namespace", "Pod", "NetworkPolicy"}


def test_the_files_of_installers_hold_fields_that_they_know() -> None:
    for kind, fields in FIELDS.items():
        assert the(kind).keys() == fields
    assert the("Cluster")["networking"].keys() == {"disableDefaultCNI", "podSubnet", "kubeProxyMode"}
    assert [each for each in documents() if "kind" not in each] == [{"disable-network-policy": True}]


def test_the_pods_are_in_the_network_that_flannel_is_given() -> None:
    assert {the(kind)["networking"]["podSubnet"] for kind in ("Cluster", "ClusterConfiguration")} == {"10.244.0.0/16"}


def test_services_do_not_go_around_the_hook() -> None:
    modes = {the("Cluster")["networking"]["kubeProxyMode"], the("KubeProxyConfiguration")["mode"]}
    assert modes <= {"iptables", "nftables"}
