"""What is in manifests/, read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
CRDS = ROOT / "crds"


@dataclass(frozen=True, slots=True)
class Document:
    """One object, and the file that it is in."""

    file: Path
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.file.name}: {self.kind} {self.name}"


def documents() -> list[Document]:
    """In the order in which kubectl applies them."""
    files = sorted(MANIFESTS.glob("*.yaml"))
    return [Document(file, body) for file in files for body in yaml.safe_load_all(file.read_text()) if body]


def the(kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = (each.body for each in documents() if (each.kind, each.name) == (kind, name))
    return found


def pod_spec(kind: str, name: str) -> dict[str, Any]:
    """What the pods of a workload are."""
    found: dict[str, Any] = the(kind, name)["spec"]["template"]["spec"]
    return found
