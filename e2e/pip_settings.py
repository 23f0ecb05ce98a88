"""How pip reaches its index on this machine, as files for a place where its configuration is not.

Behind a proxy that opens TLS, or with an index of one's own, pip works here because somebody has configured it; inside
a root file system and in an image's build it has to be told.
"""

import ast
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.command import run
from e2e.rootfs import Bind

_PLACE = Path("/run/secrets")  # where an image's build shows what it was given
CONFIGURATION = _PLACE / "pip.conf"
CERTIFICATES = _PLACE / "pip-ca.pem"
_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout", "retries")


@contextmanager
def as_binds() -> Iterator[list[Bind]]:
    """pip's configuration and, when it needs them, the certificates that it trusts."""
    settings = _settings()
    certificates = settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE")
    lines = ["[global]", *(f"{key} = {settings[key]}" for key in _KEYS if key in settings)]
    if certificates:
        lines.append(f"cert = {CERTIFICATES}")
    with TemporaryDirectory() as place:
        file = Path(place) / CONFIGURATION.name
        file.write_text("\n".join(lines) + "\n")
        binds = [Bind(file, CONFIGURATION, read_only=True)]
        yield [*binds, Bind(Path(certificates), CERTIFICATES, read_only=True)] if certificates else binds


def _settings() -> dict[str, str]:
    """Key -> value; what the environment says wins, as it does for pip.

    Of the environment pip itself is shown only where its configuration is: PIP_QUIET, for one, empties its list.
    """
    given = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    if place := os.environ.get("PIP_CONFIG_FILE"):
        given["PIP_CONFIG_FILE"] = place
    listed = run([sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"], env=given)
    pairs = (line.partition("=") for line in listed.splitlines())
    settings = {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in pairs}
    spoken = {key: os.environ.get(f"PIP_{key.upper().replace('-', '_')}") for key in (*_KEYS, "cert")}
    settings |= {key: value for key, value in spoken.items() if value}
    return {key: value.replace("\n", " ") for key, value in settings.items()}
