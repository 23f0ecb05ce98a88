"""Who we are and whom we talk to: from the pod we run in, or from a kubeconfig.

The kubeconfig reader knows what the node agent and the e2e need: a token, a token file or a client certificate, and the
server's CA. Plugins that run programs (``exec``) are left to ``kube.client``. A connection is verified, always.
"""

import base64
import binascii
import ipaddress
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml

from nodewall.kube.errors import CredentialsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_AGE = 60.0
"""Seconds that a token file's contents are trusted: the kubelet replaces them long before they expire."""


class Token(Protocol):
    """A bearer token that may change while we run."""

    def read(self) -> str:
        """The token for the next request, "" for none."""
        ...

    def renew(self) -> bool:
        """Forget what is cached, after a 401. True when the next ``read`` may say something new."""
        ...


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token that never changes; "" for none (a client certificate instead)."""

    text: str = ""

    def read(self) -> str:
        """See ``Token``."""
        return self.text

    def renew(self) -> bool:
        """See ``Token``."""
        return False


class FileToken:
    """A token in a file that somebody renews. ``monotonic`` tells the seconds."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path, self._monotonic = path, monotonic
        self._text, self._read_at = "", float("-inf")

    def read(self) -> str:
        """See ``Token``. A file that is of no use now leaves the last token in force; without one it is an error."""
        if self._monotonic() - self._read_at < TOKEN_AGE:
            return self._text
        try:
            self._text = _usable_token(_read(self._path, "").decode("utf-8", "replace").strip(), self._path, "")
        except CredentialsError:
            if not self._text:
                raise
        self._read_at = self._monotonic()
        return self._text

    def renew(self) -> bool:
        """See ``Token``: reads the file at once. The same text again means that asking again is useless."""
        before, self._read_at = self._text, float("-inf")
        return self.read() != before


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach and convince one API server.

    ``server`` has no slash at its end. ``namespace`` is our own, or the context's.
    """

    server: str
    tls: ssl.SSLContext | None
    token: Token
    namespace: str = "default"
    server_name: str = ""
    """The name to verify the server's certificate against, when it is not the one in ``server``."""


def find(kubeconfig: Path | None = None, context: str = "", environ: Mapping[str, str] = os.environ) -> Credentials:
    """The named kubeconfig; else the pod we run in; else $KUBECONFIG; else ~/.kube/config.

    Raises ``CredentialsError``.
    """
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig, context)
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ)
    named = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if len(named) > 1:
        raise CredentialsError("$KUBECONFIG", "", "names several files; name one with --kubeconfig")
    return from_kubeconfig(Path(named[0]) if named else Path.home() / ".kube" / "config", context)


def bound_node(token: str) -> str:
    """The node that a ServiceAccount token is bound to, "" when it does not say.

    For a look at our own token: nothing is verified here, the API server does that.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
    except (ValueError, msgspec.DecodeError):
        return ""
    return claims.kubernetes.node.name


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Bound(msgspec.Struct, frozen=True):
    node: _Named = _Named()


class _Claims(msgspec.Struct, frozen=True):
    kubernetes: _Bound = msgspec.field(default=_Bound(), name="kubernetes.io")


def in_cluster(environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> Credentials:
    """The ServiceAccount of the pod that we run in."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise CredentialsError("$KUBERNETES_SERVICE_HOST", "", "is not set: not in a pod, or without its environment")
    token = FileToken(folder / "token")
    token.read()  # an unreadable file is an error of the start, not of the first request
    tls = _verifying(folder / "ca.crt", "", _read(folder / "ca.crt", ""))
    namespace = folder / "namespace"
    return Credentials(
        server=f"https://{_bracketed(host)}:{port}",
        tls=tls,
        token=token,
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )


class Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    """``clusters[].cluster``."""

    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""


class User(msgspec.Struct, frozen=True, rename="kebab"):
    """``users[].user``. The last four are only there to be refused by name."""

    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    exec: object = None
    auth_provider: object = None
    username: str = ""
    as_: str = msgspec.field(default="", name="as")


class Context(msgspec.Struct, frozen=True):
    """``contexts[].context``."""

    cluster: str
    user: str = ""
    namespace: str = ""


class NamedCluster(msgspec.Struct, frozen=True):
    """An entry of ``clusters``."""

    name: str
    cluster: Cluster


class NamedUser(msgspec.Struct, frozen=True):
    """An entry of ``users``."""

    name: str
    user: User


class NamedContext(msgspec.Struct, frozen=True):
    """An entry of ``contexts``."""

    name: str
    context: Context


class Kubeconfig(msgspec.Struct, frozen=True, rename="kebab"):
    """The file."""

    clusters: list[NamedCluster] | None = None
    users: list[NamedUser] | None = None
    contexts: list[NamedContext] | None = None
    current_context: str = ""


REFUSED_FIELDS = (
    ("exec", "runs a program, which is not supported here; use a token or a client certificate"),
    ("auth_provider", "was removed from Kubernetes; use a token or a client certificate"),
    ("username", "password login was removed from Kubernetes; use a token or a client certificate"),
    ("as_", "impersonation is not supported here"),
)


def from_kubeconfig(path: Path, context: str = "") -> Credentials:
    """The context of a kubeconfig file, its current one by default. Relative paths are relative to the file."""
    config = _parse(path)
    chosen = context or config.current_context
    if not chosen:
        raise CredentialsError(str(path), "current-context", "is not set; set it or name a context")
    contexts = {entry.name: entry.context for entry in config.contexts or ()}
    ctx = _named(path, "contexts", contexts, chosen)
    cluster = _named(path, "clusters", {entry.name: entry.cluster for entry in config.clusters or ()}, ctx.cluster)
    users = {entry.name: entry.user for entry in config.users or ()}
    user = _named(path, "users", users, ctx.user) if ctx.user else User()
    server = _server(path, f"clusters[{ctx.cluster}].cluster", cluster)
    where = f"users[{ctx.user}].user"
    return Credentials(
        server=server,
        tls=_tls(path, ctx, cluster, user) if server.startswith("https:") else None,
        token=_token(path, where, user),
        namespace=ctx.namespace or "default",
        server_name=cluster.tls_server_name,
    )


def _parse(path: Path) -> Kubeconfig:
    text = _read(path, "")
    try:
        return msgspec.convert(yaml.safe_load(text), Kubeconfig)
    except yaml.YAMLError as error:
        raise CredentialsError(str(path), "", f"is not YAML: {' '.join(str(error).split())}") from error
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise CredentialsError(str(path), where.strip("`").removeprefix("$").lstrip("."), what) from error


N = TypeVar("N")


def _named(path: Path, field: str, entries: Mapping[str, N], name: str) -> N:
    if name in entries:
        return entries[name]
    known = ", ".join(sorted(entries)) or "none"
    raise CredentialsError(str(path), field, f"has no entry named {name!r}; there are: {known}")


def _server(path: Path, where: str, cluster: Cluster) -> str:
    if cluster.insecure_skip_tls_verify:
        raise CredentialsError(
            str(path), f"{where}.insecure-skip-tls-verify", "is refused; give the server's CA in certificate-authority"
        )
    if _is_usable(cluster.server):
        return cluster.server.rstrip("/")
    why = f"{cluster.server!r} must be https://HOST[:PORT] (http:// only to loopback)"
    raise CredentialsError(str(path), f"{where}.server", why)


def _is_usable(server: str) -> bool:
    try:
        url = urlsplit(server)
        _ = url.port  # raises when it is no port
    except ValueError:
        return False
    return bool(url.hostname) and (url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.hostname or "")))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: Path, where: str, user: User) -> Token:
    for field, why in REFUSED_FIELDS:
        if getattr(user, field):
            raise CredentialsError(str(path), f"{where}.{field.strip('_').replace('_', '-')}", why)
    if user.token:
        return FixedToken(_usable_token(user.token, path, f"{where}.token"))
    if not user.token_file:
        return FixedToken()
    token = FileToken(path.parent / user.token_file)
    token.read()
    return token


def _usable_token(text: str, path: Path, field: str) -> str:
    """``text``, when it can stand in a header: anything else would fail each request, far from its cause."""
    if text and text.isascii() and text.isprintable() and " " not in text:
        return text
    raise CredentialsError(str(path), field, "holds no token: one word of ASCII is needed")


def _tls(path: Path, ctx: Context, cluster: Cluster, user: User) -> ssl.SSLContext:
    cluster_field = f"clusters[{ctx.cluster}].cluster.certificate-authority"
    ca = _material(path, cluster_field, cluster.certificate_authority, cluster.certificate_authority_data)
    tls = _verifying(path, cluster_field, ca)
    user_field = f"users[{ctx.user}].user.client"
    certificate = _material(path, f"{user_field}-certificate", user.client_certificate, user.client_certificate_data)
    key = _material(path, f"{user_field}-key", user.client_key, user.client_key_data)
    if bool(certificate) != bool(key):
        missing = "key" if certificate else "certificate"
        raise CredentialsError(str(path), f"{user_field}-{missing}", "is missing: certificate and key go together")
    if certificate:
        _load_pair(tls, path, f"{user_field}-certificate", certificate + b"\n" + key)
    return tls


def _material(path: Path, field: str, file: str, data: str) -> bytes:
    """Contents of a field that is either a path or base64; data wins, as in kubectl. b"" when neither is there."""
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise CredentialsError(str(path), f"{field}-data", f"is not base64: {error}") from error
    return _read(path.parent / file, field) if file else b""


def _verifying(path: Path, field: str, ca: bytes) -> ssl.SSLContext:
    """A context that trusts this CA alone, or the system's when there is none."""
    try:
        tls = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise CredentialsError(str(path), field, f"is no PEM certificate: {error}") from error
    # Python 3.13 turned this on, and the CAs of many clusters have no key identifiers: their every certificate would be
    # refused (tomplus/kubernetes_asyncio#349). Signatures, names and dates are checked as before.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


def _load_pair(tls: ssl.SSLContext, path: Path, field: str, pem: bytes) -> None:
    # The library reads files only. The folder is ours alone (0700) and gone at once.
    with tempfile.TemporaryDirectory(prefix="nodewall-") as folder:
        pair = Path(folder) / "pair.pem"
        pair.write_bytes(pem)
        try:
            tls.load_cert_chain(pair)
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(str(path), field, f"certificate and key cannot be used: {error}") from error


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(str(path), field, f"cannot be read: {error.strerror or error}") from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
