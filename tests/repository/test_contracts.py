"""The import contracts bite: each one is kept by a tree that obeys the design and broken by one that does not.

The trees are skeletons of their own, so that this says something about the contracts and not about today's code
(`lint-imports` in `make check` does that).
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
FOLDERS = ("model", "api", "compile", "render", "evaluate", "kube", "telemetry", "controller", "agent", "live")
CORE = ("model", "api", "compile", "render", "evaluate")

ALLOWED = {
    "cli": ("nodewall.controller", "nodewall.agent", "nodewall.telemetry.web"),
    "controller.handlers": ("kopf",),
    "controller.publish": ("nodewall.kube.client", "nodewall.compile", "time"),
    "kube.client": ("kubernetes_asyncio",),
    "kube.http": ("aiohttp", "nodewall.api"),
    "agent.kernel": ("nftables", "nodewall.render"),
    "agent.watch": ("nodewall.kube.http", "asyncio"),
    "telemetry.web": ("aiohttp",),
    "telemetry.metrics": ("prometheus_client",),
    "api.policies": ("nodewall.model", "nodewall.compile", "msgspec", "ipaddress"),
    "compile.node": ("nodewall.model", "hashlib"),
}

# (contract, importing module, imported module): each row alone breaks its contract.
BREACHES = [
    ("layers", "agent.a", "nodewall.controller"),
    ("layers", "controller.a", "nodewall.agent"),
    ("layers", "live.a", "nodewall.controller"),
    ("layers", "agent.b", "nodewall.live"),
    ("layers", "kube.a", "nodewall.telemetry"),
    ("layers", "telemetry.a", "nodewall.kube"),
    ("layers", "kube.b", "nodewall.cli"),
    ("layers", "compile.a", "nodewall.api"),
    ("layers", "compile.b", "nodewall.evaluate"),
    ("layers", "evaluate.b", "nodewall.compile"),
    ("layers", "render.b", "nodewall.compile"),
    ("layers", "model.b", "nodewall.render"),
    *(
        ("purity", "model.impure", name)
        for name in ("asyncio", "socket", "time", "random", "subprocess", "aiohttp", "os")
    ),
    *(("purity", f"{folder}.late", "time") for folder in CORE),
    ("door-kopf", "controller.loop", "kopf"),
    ("door-kopf", "cli", "kopf"),
    ("door-kubernetes-asyncio", "kube.http", "kubernetes_asyncio"),
    ("door-kubernetes-asyncio", "controller.status", "kubernetes_asyncio"),
    ("door-nftables", "agent.loop", "nftables"),
    ("door-nftables", "cli", "nftables"),
    ("door-aiohttp", "agent.report", "aiohttp"),
    ("door-aiohttp", "telemetry.logs", "aiohttp"),
    ("door-prometheus", "agent.report", "prometheus_client"),
    ("light-agent", "agent.lease", "nodewall.kube.client"),
]


def write_tree(where: Path, imports: dict[str, list[str]]) -> None:
    """Write a package `nodewall` of the design's folders under `where`, with these modules and what they import."""
    package = where / "nodewall"
    for folder in FOLDERS:
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").touch()
    for name in ("__init__", "cli"):
        (package / f"{name}.py").touch()
    for module, imported in imports.items():
        path = package.joinpath(*module.split(".")).with_suffix(".py")
        path.write_text("".join(f"import {name}\n" for name in imported))
    shutil.copy(ROOT / "pyproject.toml", where)


def lint(where: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "lint-imports"
    return subprocess.run([script, "--no-cache"], cwd=where, capture_output=True, text=True, timeout=60, check=False)


def merged(*rows: tuple[str, tuple[str, ...]]) -> dict[str, list[str]]:
    imports: dict[str, list[str]] = {}
    for module, names in rows:
        imports.setdefault(module, []).extend(names)
    return imports


def test_a_tree_that_obeys_the_design_keeps_every_contract(tmp_path: Path) -> None:
    write_tree(tmp_path, merged(*ALLOWED.items()))
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


@pytest.fixture(scope="module")
def broken_report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report on one tree with every breach at once, on one line: contract titles and chains are wrapped in it."""
    where = tmp_path_factory.mktemp("breaches")
    write_tree(where, merged(*ALLOWED.items(), *((module, (name,)) for _, module, name in BREACHES)))
    done = lint(where)
    assert done.returncode == 1, done.stdout + done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def section(report: str, contract: str) -> str:
    """What the report says about one broken contract: its title followed by dashes, up to the next title."""
    titles = {each["id"]: each["name"] for each in CONTRACTS}
    _, _, text = report.partition(" Broken contracts ")
    starts = {text.find(title): id_ for id_, title in titles.items() if title in text}
    begin = next(at for at, id_ in starts.items() if id_ == contract)
    return text[begin : min((at for at in starts if at > begin), default=len(text))]


@pytest.mark.parametrize(("contract", "module", "imported"), BREACHES)
def test_a_breach_is_named(broken_report: str, contract: str, module: str, imported: str) -> None:
    assert f"nodewall.{module} -> {imported} " in section(broken_report, contract)


def test_a_folder_outside_the_layers_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, merged(*ALLOWED.items()))
    (tmp_path / "nodewall" / "utils.py").touch()
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "nodewall.utils" in done.stdout


def test_every_contract_has_a_breach() -> None:
    assert {contract for contract, _, _ in BREACHES} == {each["id"] for each in CONTRACTS}
