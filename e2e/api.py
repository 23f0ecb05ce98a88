"""A small client of the Kubernetes API for the harness: plain JSON objects, blocking, safe to use from threads.

Objects are addressed by what they say about themselves (apiVersion, kind, namespace, name); the way to the resource
comes from discovery, so custom resources need no table here.
"""

import http.client
import json
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

Object = dict[str, Any]

FIELD_MANAGER = "nodewall-e2e"
_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
}


class ApiError(Exception):
    """The API server refused; `status` is the HTTP status, `reason` the machine-readable word of its Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Resource:
    """What discovery says about a kind: the path before the namespace, the plural name, whether it has namespaces."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection, an object or a subresource."""
        scope = ["namespaces", namespace] if self.namespaced and namespace else []
        parts = [*scope, self.plural, *([name] if name else []), *([subresource] if subresource else [])]
        return "/".join([self.prefix, *(quote(part) for part in parts)])


@dataclass(slots=True)
class Api:
    """One identity at one API server; as many connections are kept as there were requests at the same time."""

    connect: Callable[[], http.client.HTTPConnection]
    headers: Mapping[str, str] = field(default_factory=dict)
    _resources: dict[tuple[str, str], Resource] = field(default_factory=dict)
    _idle: "deque[http.client.HTTPConnection]" = field(default_factory=deque)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; the decoded answer. Raises ApiError for a refusal and OSError when nobody answers."""
        target = f"{path}?{urlencode(query)}" if query else path
        text = None if body is None else json.dumps(body)
        headers = {"Accept": "application/json", "Content-Type": content_type, **self.headers}
        status, answer = self._exchange(method, target, text, headers)
        return _decoded(status, answer)

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    def text(self, path: str) -> str:
        """The plain text at `path`, such as /readyz."""
        status, answer = self._exchange("GET", path, None, dict(self.headers))
        if status >= 400:
            raise ApiError(status, "", answer.decode(errors="replace")[:500])
        return answer.decode()

    def resource(self, api_version: str, kind: str) -> Resource:
        """What discovery says about a kind; LookupError when the server does not know it."""
        key = (api_version, kind)
        if key not in self._resources:
            self._resources[key] = self._discover(api_version, kind)
        return self._resources[key]

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object:
        """One object."""
        return self.request("GET", self.resource(api_version, kind).path(namespace, name))

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None when it does not exist."""
        try:
            return self.get(api_version, kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str | None = None, **query: str) -> "list[Object]":
        """The objects of a kind in one namespace or in all; `query` goes to the server as it is."""
        answer = self.request("GET", self.resource(api_version, kind).path(namespace), query=query)
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    def create(self, obj: Object) -> Object:
        """Create an object."""
        resource = self.resource(obj["apiVersion"], obj["kind"])
        return self.request("POST", resource.path(obj["metadata"].get("namespace")), obj)

    def ensure(self, obj: Object) -> Object:
        """Create an object unless one of its name is there, and return what is there then."""
        try:
            return self.create(obj)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            metadata = obj["metadata"]
            return self.get(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))

    def apply(self, obj: Object) -> Object:
        """Server-side apply, taking over fields of others."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self.request("PATCH", self._path_of(obj), obj, query, _PATCH_TYPES["apply"])

    def replace(self, obj: Object) -> Object:
        """Replace an object; its resourceVersion is checked when it carries one."""
        return self.request("PUT", self._path_of(obj), obj)

    def patch(self, obj: Object, patch: Any, *, kind: str = "merge", subresource: str | None = None) -> Object:
        """Patch an object (addressed by its own words); `kind` is merge, strategic, apply or json."""
        return self.request("PATCH", self._path_of(obj, subresource), patch, content_type=_PATCH_TYPES[kind])

    def delete(self, obj: Object, *, grace: int | None = None) -> None:
        """Delete an object; `grace` seconds for a Pod. One that is gone already is fine."""
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        try:
            self.request("DELETE", self._path_of(obj), query=query)
        except ApiError as error:
            if error.status != 404:
                raise

    def post(self, obj: Object, subresource: str, body: Object) -> Object:
        """Post to a subresource of an object, such as a ServiceAccount's token."""
        return self.request("POST", self._path_of(obj, subresource), body)

    def _path_of(self, obj: Object, subresource: str | None = None) -> str:
        metadata = obj["metadata"]
        resource = self.resource(obj["apiVersion"], obj["kind"])
        return resource.path(metadata.get("namespace"), metadata["name"], subresource)

    def _discover(self, api_version: str, kind: str) -> Resource:
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            listed = self.request("GET", prefix)["resources"]
        except ApiError as error:
            raise LookupError(f"{api_version}: {error}") from error
        for entry in listed:
            if entry["kind"] == kind and "/" not in entry["name"]:
                return Resource(prefix, entry["name"], entry["namespaced"])
        raise LookupError(f"{api_version} {kind}: the API server does not know it")

    def _exchange(self, method: str, target: str, text: str | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send on a kept connection; one that the server has closed meanwhile is replaced by a new one, once."""
        try:
            kept = self._idle.pop()
        except IndexError:
            return self._exchange_on(self.connect(), method, target, text, headers)
        try:
            return self._exchange_on(kept, method, target, text, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            return self._exchange_on(self.connect(), method, target, text, headers)

    def _exchange_on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        text: str | None,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        """Send on this connection and keep it afterwards, unless that fails."""
        try:
            connection.request(method, target, text, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer


def is_established(definition: Object) -> bool:
    """Whether a CustomResourceDefinition is served."""
    conditions = definition.get("status", {}).get("conditions") or []  # null for a moment after it was made
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _decoded(status: int, answer: bytes) -> Object:
    try:
        value: Object = json.loads(answer)
    except ValueError:
        value = {"message": answer.decode(errors="replace")[:500]}
    if status >= 400:
        raise ApiError(status, str(value.get("reason", "")), str(value.get("message", "")))
    return value
