"""What can go wrong between us and the API server, as a tree.

::

    NodewallError
    ├── CredentialsError        a kubeconfig, token or certificate that cannot be used: names the file and the field
    └── ApiError                one request failed; says which verb on which resource
        ├── UnreachableError        no answer: refused, reset, TLS, timed out
        │   └── SilentError         a watch that sent no byte for too long: dead, or only quiet
        ├── BadAnswerError          an answer that is not what the API promises, truncated JSON for one
        └── RefusedError            the server answered, and not with success
            ├── UnauthorizedError   401
            ├── ForbiddenError      403
            ├── NotFoundError       404
            ├── ConflictError       409, also "already exists"
            ├── ExpiredError        410, or a resourceVersion that this server never had: list again
            ├── TooLargeError       permanent: 413, and etcd's refusals with 500 or 422
            ├── InvalidError        permanent: 400, 405, 406, 415, 422
            ├── ThrottledError      429
            └── ServerError         everything else

``permanent`` says that the same request will fail again, whatever the time. Everything else is worth a retry.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from nodewall.model.errors import NodewallError


class CredentialsError(NodewallError):
    """A file that was to tell who we are cannot be used. ``field`` is a path inside it, "" for the whole file."""

    def __init__(self, file: str, field: str, message: str) -> None:
        self.file, self.field, self.message = file, field, message
        super().__init__(": ".join(part for part in (file, field, message) if part))


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked for, in the words of RBAC: ``list`` ``pods``, ``patch`` ``noderulesets.nodewall.io/status n1``."""

    verb: str
    target: str

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


class ApiError(NodewallError):
    """One request failed. ``retry_after`` is the server's wish in seconds, None without one."""

    permanent: ClassVar[bool] = False

    def __init__(self, call: Call, message: str, *, retry_after: float | None = None) -> None:
        self.call, self.message, self.retry_after = call, message, retry_after
        super().__init__(f"{call}: {message}")


class UnreachableError(ApiError):
    """Nothing answered, or the answer broke off. Whether a write was done is unknown.

    ``back`` is set once the server has served somebody else of the same session, after a time in which it served none;
    None when it did answer this time.
    """

    def __init__(self, call: Call, message: str, *, back: asyncio.Event | None = None) -> None:
        super().__init__(call, message)
        self.back = back


class SilentError(UnreachableError):
    """A watch brought no byte, not even a bookmark, for so long that the connection must be dead."""


class BadAnswerError(ApiError):
    """The answer is not the JSON that the API promises."""


class RefusedError(ApiError):
    """The server refused. ``status`` is the HTTP code, ``reason`` the API's word (``AlreadyExists``) or ""."""

    def __init__(
        self, call: Call, message: str, *, status: int = 0, reason: str = "", retry_after: float | None = None
    ) -> None:
        self.status, self.reason = status, reason
        super().__init__(call, message, retry_after=retry_after)


class UnauthorizedError(RefusedError):
    """The server does not know us."""


class ForbiddenError(RefusedError):
    """The server knows us and RBAC or admission says no."""


class NotFoundError(RefusedError):
    """No such object, or no such resource: only discovery can tell them apart."""


class ConflictError(RefusedError):
    """Somebody else was first."""


class ExpiredError(RefusedError):
    """The resourceVersion or continue token is of no use to this server."""


class TooLargeError(RefusedError):
    """The object will never fit."""

    permanent = True


class InvalidError(RefusedError):
    """The server understood and will never take it."""

    permanent = True


class ThrottledError(RefusedError):
    """Too many requests."""


class ServerError(RefusedError):
    """The server's own trouble."""


BY_STATUS: dict[int, type[RefusedError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: InvalidError,
    406: InvalidError,
    409: ConflictError,
    410: ExpiredError,
    413: TooLargeError,
    415: InvalidError,
    422: InvalidError,
    429: ThrottledError,
}

# etcd's limits come as the server's own trouble, and no retry can help. Seen on 1.36: above 1.5 MiB etcd's own words
# with a 500 (elsewhere 422), above 2 MiB those of gRPC with a 500, above 3 MiB a 413.
TOO_LARGE = re.compile(r"request is too large|trying to send message larger than max", re.IGNORECASE)
# A resourceVersion ahead of the server's (etcd restored from a backup): resuming there would wait for ever.
FROM_THE_FUTURE = re.compile(r"too large resource version", re.IGNORECASE)

MESSAGE_LIMIT = 1024
"""Characters kept of a server's message: a proxy's HTML page is no log line."""


class StatusDetails(msgspec.Struct, frozen=True):
    """``Status.details``, as far as we read it."""

    retryAfterSeconds: int = 0  # noqa: N815 - the wire's name


class Status(msgspec.Struct, frozen=True):
    """``meta/v1 Status``: the body of a refusal, and the object of an ERROR in a watch."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


def refusal(call: Call, status: int, body: bytes, retry_after_header: str = "") -> RefusedError:
    """The error for an answer. Never raises: a body that is no Status (a proxy's page, nothing) is quoted as text."""
    said = _status_of(body)
    code = status or said.code
    kind = _class_of(code, said.message)
    wish = _seconds(retry_after_header) or (said.details.retryAfterSeconds if said.details else 0)
    message = " ".join(said.message.split())[:MESSAGE_LIMIT] or f"HTTP {code}"
    return kind(call, message, status=code, reason=said.reason, retry_after=float(wish) if wish else None)


def _status_of(body: bytes) -> Status:
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:  # ValidationError is one of these
        return Status(message=body.decode("utf-8", "replace"))


def _class_of(code: int, message: str) -> type[RefusedError]:
    if code in {422, 500} and TOO_LARGE.search(message):
        return TooLargeError
    if FROM_THE_FUTURE.search(message):
        return ExpiredError
    return BY_STATUS.get(code, ServerError)


def _seconds(header: str) -> int:
    # The other form, a date, would need the clocks of both sides to agree; the back-off alone will do then.
    return int(header) if header.isascii() and header.isdigit() else 0
