"""A certificate authority for tests, as bare as that of many clusters: without key identifiers."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OPENSSL = shutil.which("openssl") or "openssl"


@dataclass(frozen=True)
class Pair:
    """PEM files."""

    certificate: Path
    key: Path


def authority(folder: Path) -> Pair:
    """A self-signed CA."""
    pair = Pair(folder / "ca.crt", folder / "ca.key")
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=kubernetes", "-keyout", pair.key, "-out", pair.certificate,
        "-config", _config(folder, "ca", "basicConstraints=critical,CA:TRUE\n"), "-extensions", "ext")  # fmt: skip
    return pair


def signed(folder: Path, ca: Pair, name: str, extensions: str) -> Pair:
    """A certificate of ``name`` by ``ca``."""
    pair, request = Pair(folder / f"{name}.crt", folder / f"{name}.key"), folder / f"{name}.csr"
    config = _config(folder, name, extensions)
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
        "-keyout", pair.key, "-out", request, "-config", config)  # fmt: skip
    run("x509", "-req", "-in", request, "-CA", ca.certificate, "-CAkey", ca.key, "-CAcreateserial", "-days", "2",
        "-extfile", config, "-extensions", "ext", "-out", pair.certificate)  # fmt: skip
    return pair


def run(*arguments: str | Path) -> None:
    """openssl; its complaint in the error."""
    done = subprocess.run([OPENSSL, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _config(folder: Path, name: str, extensions: str) -> Path:
    file = folder / f"{name}.cnf"
    file.write_text(f"[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN={name}\n[ext]\n{extensions}")
    return file
