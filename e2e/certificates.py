"""Keys and certificates of one control plane, made with the openssl program: a CA, the server, the administrator,
and the key that signs ServiceAccount tokens. They live as long as the instance."""

from dataclasses import dataclass
from pathlib import Path

from e2e.command import run

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "365")

# Python 3.13 checks certificates strictly by default, so the extensions that RFC 5280 asks for must all be there.
_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
{name}
[extensions]
{extensions}
"""
_CA = "basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash"
_LEAF = (
    "basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\nsubjectKeyIdentifier = hash\n"
    "authorityKeyIdentifier = keyid\nextendedKeyUsage = {usage}"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Everything that the API server and its administrator need."""

    ca: Pair
    server: Pair
    admin: Pair
    token_key: Path
    token_public_key: Path


def make(directory: Path, addresses: tuple[str, ...]) -> Certificates:
    """Make all of it in `directory`; the server's certificate is good for `addresses` and the usual names."""
    ca = _certificate(directory, "ca", "CN = nodewall-e2e", _CA, issuer=None)
    names = [f"IP:{address}" for address in addresses]
    names += ["DNS:localhost", "DNS:kubernetes.default.svc", "DNS:kubernetes.default"]
    server_extensions = _LEAF.format(usage="serverAuth") + f"\nsubjectAltName = {','.join(names)}"
    server = _certificate(directory, "server", "CN = kube-apiserver", server_extensions, ca)
    # Members of system:masters pass every authorization check.
    admin = _certificate(directory, "admin", "O = system:masters\nCN = e2e-admin", _LEAF.format(usage="clientAuth"), ca)
    key, public = directory / "tokens.key", directory / "tokens.pub"
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)])
    run(["openssl", "ec", "-in", str(key), "-pubout", "-out", str(public)])
    return Certificates(ca, server, admin, key, public)


def made(directory: Path) -> Certificates:
    """What `make` made there."""
    ca, server, admin = (_pair(directory, stem) for stem in ("ca", "server", "admin"))
    return Certificates(ca, server, admin, directory / "tokens.key", directory / "tokens.pub")


def _pair(directory: Path, stem: str) -> Pair:
    return Pair(directory / f"{stem}.crt", directory / f"{stem}.key")


def _certificate(directory: Path, stem: str, name: str, extensions: str, issuer: Pair | None) -> Pair:
    config = directory / f"{stem}.cnf"
    config.write_text(_CONFIG.format(name=name, extensions=extensions))
    pair = _pair(directory, stem)
    signer = ["-CA", str(issuer.certificate), "-CAkey", str(issuer.key)] if issuer else []
    files = ["-config", str(config), "-keyout", str(pair.key), "-out", str(pair.certificate)]
    run(["openssl", "req", "-x509", *_EC, "-extensions", "extensions", *files, *signer])
    return pair
