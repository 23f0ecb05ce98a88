"""The custom resource definitions: ``crds/`` says what the wire structures say, in the words of an API server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodewall.api.crds import DEFINITIONS, EXCEPTS_CHECKED, definition, files
from nodewall.api.ruleset import HELD
from nodewall.api.tierwire import PEERS, RULES

FOLDER = Path(__file__).parents[2] / "crds"
ADVICE = "run `nodewall crds --directory crds`"


def test_the_files_are_fresh() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.yaml")} == files(), ADVICE


def test_the_folder_holds_nothing_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*files(), "Kustomization"}


def schemas(at: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield at, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(f"{at}.{name}", inner)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from schemas(f"{at}[]", schema[keyword])


def every_schema() -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for one in DEFINITIONS:
        (version,) = definition(one)["spec"]["versions"]
        found += schemas(one.kind, version["schema"]["openAPIV3Schema"])
    return found


SCHEMAS = every_schema()
UNCHECKED = "x-kubernetes-preserve-unknown-fields"
ALLOWED = {
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "properties",
    "additionalProperties",
    "required",
    "type",
    UNCHECKED,
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
}


def test_schemas_are_structural() -> None:
    for at, schema in SCHEMAS:
        assert UNCHECKED in schema or schema["type"] in {"array", "boolean", "integer", "object", "string"}, at
        assert schema.keys() <= ALLOWED, at
        assert not ("properties" in schema and "additionalProperties" in schema), at


def test_the_api_server_looks_into_everything_but_the_long_lists_that_only_we_write() -> None:
    """What users write is checked field by field."""
    passed_over = {at: schema for at, schema in SCHEMAS if UNCHECKED in schema}
    lists = ("addressGroups", "portGroups", "classes", "endpoints", "policies")
    assert passed_over.keys() == {f"NodeRuleSet.spec.{name}" for name in lists}
    for schema in passed_over.values():
        assert schema.keys() == {"description", UNCHECKED}
        assert schema[UNCHECKED] is True
    assert "name, description, addresses" in passed_over["NodeRuleSet.spec.addressGroups"]["description"]


def test_nothing_is_written_into_users_objects_and_a_re_apply_changes_nothing() -> None:
    for at, schema in SCHEMAS:
        assert "default" not in schema, at
        assert schema.get("required") != [], at


def test_every_list_is_atomic() -> None:
    lists = [(at, schema) for at, schema in SCHEMAS if schema.get("type") == "array"]
    assert len(lists) > 20
    for at, schema in lists:
        assert schema["x-kubernetes-list-type"] == "atomic", at


def test_every_field_is_described() -> None:
    for at, schema in SCHEMAS:
        for name, inner in schema.get("properties", {}).items():
            assert inner.get("description") or (name, at.count(".")) == ("metadata", 0), f"{at}.{name}"


def test_every_check_says_what_to_write() -> None:
    checks = [check for _, schema in SCHEMAS for check in schema.get("x-kubernetes-validations", ())]
    assert len(checks) > 20
    for check in checks:
        assert check["rule"]
        assert len(check["message"]) > 20
        assert "\n" not in check["message"]


def test_lists_with_checks_have_limits() -> None:
    """Without them the cost of the checks is beyond the API server's budget."""
    limited = {at: schema["maxItems"] for at, schema in SCHEMAS if "maxItems" in schema}
    for kind in ("ExtendedNetworkPolicy", "ClusterExtendedNetworkPolicy"):
        assert limited[f"{kind}.spec.ingress"] == limited[f"{kind}.spec.egress"] == RULES
        assert limited[f"{kind}.spec.ingress[].from"] == limited[f"{kind}.spec.egress[].to"] == PEERS
        assert limited[f"{kind}.spec.ingress[].from[].networks"] == 25
    assert EXCEPTS_CHECKED == 5


METADATA = (
    ".metadata.creationTimestamp",
    ".metadata.generation",
    ".metadata.annotations." + HELD.replace(".", r"\."),
)
COLUMNS = {
    "NodeRuleSet": ["Pods", "Policies", "Rules", "Addresses", "Applied", "Held", "Generation", "Seen", "Age"],
    "PeerGroup": ["Group", "Parts", "Revision", "Age"],
    "ExtendedNetworkPolicy": ["Priority", "Mode", "Pods", "Accepted", "Programmed", "Age"],
    "ClusterExtendedNetworkPolicy": ["Tier", "Priority", "Mode", "Pods", "Accepted", "Programmed", "Age"],
}
SHORT = {
    "NodeRuleSet": "nrs",
    "PeerGroup": "pg",
    "ExtendedNetworkPolicy": "xnp",
    "ClusterExtendedNetworkPolicy": "cxnp",
}


@pytest.mark.parametrize("one", DEFINITIONS, ids=lambda one: str(one.kind))
def test_kubectl_shows_them_well(one: Any) -> None:
    spec = definition(one)["spec"]
    (version,) = spec["versions"]
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == COLUMNS[one.kind]
    assert spec["names"]["shortNames"] == [SHORT[one.kind]]
    assert version.get("subresources") == ({"status": {}} if one.status else None)
    assert spec["scope"] == ("Namespaced" if one.kind == "ExtendedNetworkPolicy" else "Cluster")


def test_columns_show_fields_that_exist() -> None:
    known = {at.replace("[]", "") for at, _ in SCHEMAS}
    for one in DEFINITIONS:
        for column in one.columns:
            plain = column.path.split("[")[0]
            assert f"{one.kind}{plain}" in known or plain in METADATA, column


def test_the_files_are_one_document_each() -> None:
    for content in files().values():
        (found,) = yaml.safe_load_all(content)
        assert found["kind"] == "CustomResourceDefinition"
