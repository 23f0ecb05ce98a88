"""Roots of Debian 13: what they bring is what the machine may not have, and nothing inside changes them."""

import os
from pathlib import Path

import pytest

from e2e import debian, pip_settings
from e2e.command import CommandError, run
from e2e.rootfs import Bind
from e2e.trixie import PACKAGES, inside


@pytest.fixture(scope="module")
def root() -> Path:
    return debian.provide(PACKAGES, print)


def test_it_has_the_python_and_the_libnftables_that_it_is_there_for() -> None:
    asked = "import sys, nftables as n, json; print(sys.version_info[:2], n.Nftables().cmd('list tables netdev')[0])"
    assert run(inside(["/run/venv/bin/python", "-c", asked])) == "(3, 13) 0\n"
    assert run(inside(["nft", "--version"])).startswith("nftables v1.1.3 ")


def test_the_tests_inside_are_those_of_this_checkout() -> None:
    asked = "import nodewall, pathlib; print(pathlib.Path(nodewall.__file__).parents[1])"
    assert run(inside(["/run/venv/bin/python", "-c", asked])) == "/run/source/operator\n"
    here = (Path(__file__).parent / "trixie.py").read_text()
    assert run(inside(["cat", "e2e/trixie.py"])) == here


def test_nothing_of_the_machine_is_seen_but_what_is_shown(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("https_proxy", "http://proxy.example:1")
    (tmp_path / "shown").write_text("yes")
    binds = [Bind(tmp_path, Path("/run/place"), read_only=True)]
    assert debian.run_inside(root, ["cat", "/run/place/shown"], binds) == "yes"
    said = debian.run_inside(root, ["sh", "-c", "env; ls /tmp; ls /run"])
    assert "https_proxy=http://proxy.example:1" in said.splitlines()
    assert "SECRET" not in said
    assert "place" not in said


@pytest.mark.parametrize("place", ["", "/usr", "/run/place"])
def test_nothing_inside_changes_it(root: Path, tmp_path: Path, place: str) -> None:
    binds = [Bind(tmp_path, Path("/run/place"), read_only=True)]
    debian.run_inside(root, ["touch", "/tmp/x", "/run/x"])  # noqa: S108 - of its own
    with pytest.raises(CommandError, match="Read-only file system"):
        debian.run_inside(root, ["touch", f"{place}/x"], binds)


def test_what_could_not_be_made_is_not_there_and_is_made_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = debian.cache() / "thing"

    def fail(partial: Path) -> None:
        (partial / "half").touch()
        raise CommandError("the network is away")

    with pytest.raises(CommandError, match="away"):
        debian.made_once(target, fail)
    assert not target.exists()
    debian.made_once(target, lambda partial: (partial / "whole").touch())
    assert [path.name for path in target.iterdir()] == ["whole"]
    debian.made_once(target, fail)


def test_pips_settings_go_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.example/simple\ntimeout = 77\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("PIP_CERT", __file__)
    monkeypatch.setenv("PIP_QUIET", "1")
    with pip_settings.as_binds() as (configuration, certificates):
        lines = configuration.source.read_text().splitlines()
        assert configuration.target == pip_settings.CONFIGURATION
        assert certificates == Bind(Path(__file__), pip_settings.CERTIFICATES, read_only=True)
    assert lines[0] == "[global]"
    assert [line for line in lines if "index-url" in line] == ["index-url = https://index.example/simple"]
    assert "timeout = 77" in lines
    assert f"cert = {pip_settings.CERTIFICATES}" in lines
    assert not configuration.source.exists()
