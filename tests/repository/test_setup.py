"""`scripts/setup` says what is missing and touches nothing without being asked."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def setup(**changed: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "YES")} | changed
    command = [ROOT / "scripts" / "setup"]
    stdin = subprocess.DEVNULL
    return subprocess.run(
        command, env=environment, stdin=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_is_missing_is_named_and_not_installed_unasked() -> None:
    done = setup(NODEWALL_ETCD="/nonexistent")
    assert done.returncode == 1
    assert done.stdout == ""
    missing, advice = done.stderr.splitlines()
    assert missing == "setup: missing (Debian names): etcd-server"
    assert "apt-get install etcd-server" in advice


@pytest.mark.parametrize("version", ["0.9.8", "1.0.2", "1.0.5"])
def test_an_old_nftables_is_refused(tmp_path: Path, version: str) -> None:
    nft = tmp_path / "nft"
    nft.write_text(f'#!/bin/sh\necho "nftables v{version} (Name)"\n')
    nft.chmod(0o755)
    done = setup(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert done.stderr == f"setup: nftables {version} is too old: 1.0.6 or newer is needed\n"
