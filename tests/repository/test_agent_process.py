"""The agent's process is a light one: kopf and kubernetes_asyncio would more than double its memory on every node."""

import json
import subprocess
import sys

LIST_MODULES = """
import importlib, json, pkgutil, sys
import nodewall.agent
for module in pkgutil.walk_packages(nodewall.agent.__path__, "nodewall.agent."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def test_the_agent_imports_neither_kopf_nor_kubernetes_asyncio() -> None:
    output = subprocess.run([sys.executable, "-c", LIST_MODULES], capture_output=True, text=True, check=True).stdout
    loaded = set(json.loads(output))
    assert "nodewall.agent" in loaded
    assert loaded & {"kopf", "kubernetes_asyncio", "nodewall.controller", "nodewall.kube.client"} == set()
