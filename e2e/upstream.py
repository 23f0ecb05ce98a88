"""The custom resource definition of ClusterNetworkPolicy, from its Go module: both channels, never copied."""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from e2e.command import run

MODULE = "sigs.k8s.io/network-policy-api"
VERSION = "v0.2.0"
CHANNELS = ("standard", "experimental")
API_VERSION, KIND = "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"


def definition(channel: str) -> dict[str, Any]:
    """The CustomResourceDefinition of a channel. Raises CommandError where the module cannot be had.

    The module lands in Go's own cache, so this costs a download once per machine.
    """
    env = os.environ | {"GOFLAGS": "-mod=mod", "GOWORK": "off"}
    argv = ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    folder = Path(json.loads(run(argv, env=env, cwd="/", timeout=300))["Dir"])
    path = folder / "config" / "crd" / channel / "policy.networking.k8s.io_clusternetworkpolicies.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found
