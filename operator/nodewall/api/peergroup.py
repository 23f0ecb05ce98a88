"""PeerGroup <-> its JSON: the parts of groups that many nodes share, and the revision that says when they are whole.

One collection holds both, so a watch brings them in the order in which they were written. A part states with which
revision it came. The one object that tells the revision is written when all parts of it are, and it comes last in a
list too. So a reader has a state that really was when no part is newer than that object says.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, TypeVar

import msgspec

from nodewall.api import shallow
from nodewall.api.cluster import Body
from nodewall.api.parsed import Projection, Report, convert, meta_of
from nodewall.api.parsed import decode as decode_body
from nodewall.api.ruleset import RuleSetError, canonical, digest_of, member_text, read_address, read_member
from nodewall.api.rulesetwire import Holding, PeerGroupSpec
from nodewall.model.ruleset import AddressGroup, GroupPart, PartKey, PortGroup, SharedGroup

M = TypeVar("M")
API_VERSION, KIND = "nodewall.io/v1alpha1", "PeerGroup"
REVISION = "revision"
"""Name of the object that tells the revision. Names of parts begin with g or p: it is behind them in every list."""

LARGEST_REVISION = 1 << 53
"""Whatever is beyond was not counted by a controller of ours."""


def name(key: PartKey) -> str:
    """Name of the object of a part."""
    group, parts, part = key
    return f"{group}-{parts}-{part}"


def names(group: SharedGroup) -> list[str]:
    """Names of the objects of all its parts."""
    return [name((group.name, group.parts, index)) for index in range(group.parts)]


@dataclass(frozen=True, slots=True)
class Head:
    """What an object says of itself, members aside, unchecked. ``part`` None: it tells the ``revision``."""

    part: PartKey | None
    revision: int
    digest: str
    report_within: int = 0


class _Spec(Projection, frozen=True, gc=False):
    digest: str
    group: str
    holds: Literal["Addresses", "Destinations", "Revision"]
    parts: int
    part: int
    revision: int
    report_within: int = 0


class _Object(Projection, frozen=True, gc=False):
    spec: _Spec


_decode_head = msgspec.json.Decoder(_Object).decode


def head(body: bytes | msgspec.Raw) -> Head:
    """Without reading the members, so following very many costs little. :raises msgspec.DecodeError:"""
    spec = shallow.read(_decode_head, body).spec
    part = None if spec.holds == "Revision" else (spec.group, spec.parts, spec.part)
    return Head(part, spec.revision, spec.digest, spec.report_within)


# --- model -> JSON ----------------------------------------------------------------------------------------------------


def encode_part(part: GroupPart, revision: int) -> tuple[str, bytes]:
    """(digest, the spec as JSON). Equal parts of one revision give equal bytes."""
    group = part.content
    if isinstance(group, AddressGroup):
        return _encoded(part, revision, "Addresses", group.addresses)
    return _encoded(part, revision, "Destinations", map(member_text, group.members))


def encode_revision(revision: int, report_within: int) -> tuple[str, bytes]:
    """(digest, the spec as JSON) of the object that tells the revision."""
    what = "All PeerGroups up to this revision are written."
    return _sealed(
        PeerGroupSpec("", "", what, "Revision", 0, 0, revision, [], report_within=report_within),
    )


def _encoded(part: GroupPart, revision: int, holds: Holding, members: Iterable[str]) -> tuple[str, bytes]:
    group = part.content
    return _sealed(
        PeerGroupSpec("", group.name, group.description, holds, part.parts, part.part, revision, list(members))
    )


def _sealed(spec: PeerGroupSpec) -> tuple[str, bytes]:
    fields = msgspec.to_builtins(spec)
    del fields["digest"]
    body = canonical(fields)
    digest = sha256(body).hexdigest()
    return digest, b'{"digest":"%s",%s' % (digest.encode(), body[1:])


def document(named: str, spec: bytes) -> dict[str, Any]:
    """The object as it is applied."""
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": named}, "spec": msgspec.Raw(spec)}


# --- JSON -> model ----------------------------------------------------------------------------------------------------


def real_digest(body: Body) -> str:
    """The digest of what is really in the object, when it is the one that it states; else ""."""
    spec = decode_body(body).get("spec")
    found = digest_of(spec)
    return found if isinstance(spec, dict) and spec.get("digest") == found else ""


def decode_part(body: Body) -> GroupPart:
    """:raises RuleSetError: it is not whole, is another object than its name says, or holds what nobody knows."""
    raw = decode_body(body)
    named = meta_of(raw, namespaced=False).name
    report = Report()
    spec = convert(raw.get("spec"), PeerGroupSpec, "spec", report)
    if spec is None:
        raise _unusable(named, report.problems[0].message, report.problems[0].path)
    if spec.digest != digest_of(raw["spec"]):
        raise _unusable(named, "is not the digest of the rest; the object was changed", "spec.digest")
    if spec.holds == "Revision" or name((spec.group, spec.parts, spec.part)) != named:
        raise _unusable(named, "is another part than its name says", "spec.group")
    return GroupPart(_content(named, spec), spec.parts, spec.part)


def _content(named: str, spec: PeerGroupSpec) -> AddressGroup | PortGroup:
    if spec.holds == "Addresses":
        return AddressGroup(spec.group, spec.description, _each(named, spec.members, read_address))
    return PortGroup(spec.group, spec.description, _each(named, spec.members, read_member))


def _each(named: str, texts: Sequence[str], read: Callable[[str], M | None]) -> tuple[M, ...]:
    found = tuple(each for each in map(read, texts) if each is not None)
    if len(found) != len(texts):
        raise _unusable(named, "a member cannot be read", "spec.members")
    return found


def _unusable(named: str, message: str, path: str) -> RuleSetError:
    return RuleSetError(message, subject=f"{KIND} {named}", path=path)
