"""What an API server would refuse, for the verbs that have none.

The readers tell what cannot be used. Beyond that an API server has limits that no reader needs: names, labels and
annotations of objects, and the sizes in the schemas of our kinds. Spellings of CIDRs that only older API servers
still take are accepted.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from nodewall.api.cluster import Body
from nodewall.api.crds import DEFINITIONS, Schema, schema
from nodewall.api.kinds import BY_KIND, Resource
from nodewall.api.labels import LABEL_KEY, LABEL_VALUE, valid_key, valid_subdomain, valid_value
from nodewall.api.parsed import Parsed, decode, mapping
from nodewall.api.tierpolicy import UNSUPPORTED
from nodewall.model.errors import Problem


def validate(kind: str, body: Body) -> tuple[Problem, ...]:
    """Why an API server would refuse an object of one of the kinds that are read; empty when it would not.

    :raises InvalidObjectError: no object with a name.
    """
    return refusals(BY_KIND[kind], decode(body))[0]


def refusals(resource: Resource, raw: dict[str, Any]) -> tuple[tuple[Problem, ...], tuple[Problem, ...], Parsed[Any]]:
    """(what an API server would refuse, what only nodewall cannot use, the object as read)."""
    parsed = resource.read(raw)
    refused = [one for one in parsed.problems if not _is_ours_alone(one)]
    tolerated = tuple(one for one in parsed.problems if _is_ours_alone(one))
    if not refused:
        refused = [*_metadata(resource, raw), *_limits(resource.kind, raw)]
    return tuple(refused), tolerated, parsed


def _is_ours_alone(problem: Problem) -> bool:
    """Whether an API server stores it all the same: to it an annotation is any text."""
    return problem.message.startswith(UNSUPPORTED) or problem.path.startswith("metadata.annotations[")


# --- metadata ---------------------------------------------------------------------------------------------------------


def _metadata(resource: Resource, raw: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = mapping(raw.get("metadata"))
    for field in ("name", "namespace"):
        value = metadata.get(field)
        if value is not None and not isinstance(value, str):
            yield Problem(f"metadata.{field}", "expected a string")
        elif value and not valid_subdomain(value):
            yield Problem(f"metadata.{field}", f"{value!r} must be at most 253 of a-z, 0-9, '-' and '.'")
    if metadata.get("namespace") and not resource.namespaced:
        yield Problem("metadata.namespace", f"must be left out: a {resource.kind} belongs to no namespace")
    yield from _labels(metadata.get("labels"))


def _labels(raw: object) -> Iterator[Problem]:
    if raw is not None and not isinstance(raw, dict):
        yield Problem("metadata.labels", "expected an object")
    for key, value in mapping(raw).items():
        at = f"metadata.labels[{key!r}]"
        if not valid_key(key):
            yield Problem(at, f"label key {LABEL_KEY}")
        elif value is not None and not (isinstance(value, str) and valid_value(value)):
            yield Problem(at, f"label value {LABEL_VALUE}")


# --- limits of our schemas --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _schemas() -> Mapping[str, Schema]:
    return {one.kind: schema(one.spec) for one in DEFINITIONS}


_MEASURES = (
    ("maxItems", list, "must have at most {0} entries"),
    ("maxLength", str, "must have at most {0} characters"),
)


def _limits(kind: str, raw: Mapping[str, Any]) -> Iterator[Problem]:
    if kind in _schemas():
        yield from _exceeded(raw.get("spec"), _schemas()[kind], "spec")


def _exceeded(value: object, limits: Schema, at: str) -> Iterator[Problem]:
    """Values that are longer than the schema allows; their types have been read already."""
    for keyword, form, message in _MEASURES:
        if keyword in limits and isinstance(value, form) and len(value) > limits[keyword]:
            yield Problem(at, message.format(limits[keyword]))
    if isinstance(value, dict):
        for name, inner in limits.get("properties", {}).items():
            if name in value:
                yield from _exceeded(value[name], inner, f"{at}.{name}")
    if isinstance(value, list) and "items" in limits:
        for index, one in enumerate(value):
            yield from _exceeded(one, limits["items"], f"{at}[{index}]")
