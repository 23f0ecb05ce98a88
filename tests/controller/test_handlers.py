"""kopf is held back from everything but telling which policy was touched."""

import importlib
import inspect
import itertools
import logging

import kopf
import pytest

from nodewall.api.kinds import BY_KIND
from nodewall.controller.handlers import FINALIZER, REQUESTS, Backoffs, NoDiffBase, Retried, handler, registry, settings
from nodewall.kube.credentials import Credentials, FixedToken
from nodewall.model.policy import Kind, PolicyRef

HERE = Credentials("http://127.0.0.1:1", None, FixedToken("secret"), "ours")


def made(touched: list[PolicyRef]) -> kopf.OperatorRegistry:
    return registry(touched.append, lambda: HERE)


def test_each_policy_kind_is_watched_and_nothing_else() -> None:
    found = made([])._watching.get_all_handlers()  # noqa: SLF001 - kopf has no other way to ask
    watched = {(each.selector.group, each.selector.version, each.selector.any_name) for each in found if each.selector}
    assert watched == {(each.group, each.version, each.plural) for each in (BY_KIND[kind] for kind in Kind)}


@pytest.mark.parametrize("kind", ["_changing", "_spawning", "_indexing", "_webhooks"])
def test_no_handler_is_of_a_kind_that_writes_or_indexes(kind: str) -> None:
    assert list(getattr(made([]), kind).get_all_handlers()) == []


@pytest.mark.parametrize("kind", Kind)
async def test_a_handler_names_the_policy_and_returns_nothing(kind: Kind) -> None:
    touched: list[PolicyRef] = []
    namespace = "ns" if BY_KIND[kind].namespaced else None
    run = handler(kind, touched.append)
    assert await run(name="p", namespace=namespace, type="DELETED", body={}, patch={}) is None
    assert touched == [PolicyRef(kind, namespace or "", "p")]


@pytest.mark.parametrize("kind", Kind)
def test_a_handler_cannot_reach_the_patch(kind: Kind) -> None:
    parameters = inspect.signature(handler(kind, print)).parameters
    assert {name for name, each in parameters.items() if each.kind is not inspect.Parameter.VAR_KEYWORD} == {
        "name",
        "namespace",
    }


def test_settings_leave_users_objects_alone() -> None:
    found = settings()
    assert found.persistence.finalizer == FINALIZER != kopf.OperatorSettings().persistence.finalizer
    assert isinstance(found.persistence.diffbase_storage, NoDiffBase)
    assert found.posting.enabled is False
    assert found.peering.standalone is True


def test_settings_let_definitions_come_and_go() -> None:
    assert settings().scanning.disabled is False


def test_kopf_never_gives_up() -> None:
    """A list of delays that ends takes the operator with it; a delay that grows for ever is as good as giving up."""
    found = settings().networking.error_backoffs
    assert isinstance(found, Backoffs)
    for _ in range(2):  # kopf begins it anew for each request
        delays = list(itertools.islice(found, 1000))
        assert delays[0] == 1
        assert delays == sorted(delays)
        assert delays[-1] == max(delays) == 30


async def test_the_login_is_ours() -> None:
    (login,) = made([])._activities.get_all_handlers()  # noqa: SLF001 - as above
    info = await login.fn()  # type: ignore[call-arg, misc]
    assert isinstance(info, kopf.AiohttpSession)
    try:
        assert (info.server, info.default_namespace) == (HERE.server, "ours")
    finally:
        await info.aiohttp_session.close()


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Request attempt #1 failed; will retry: GET https://api/apis -> ClientConnectorError()", logging.WARNING),
        ("Request attempt #1 failed; TCP closed; will re-authenticate: GET https://api/apis", logging.WARNING),
        ("Request attempt #9 failed; escalating: GET https://api/apis -> APIError()", logging.ERROR),
        ("something else will retry", logging.ERROR),
    ],
)
def test_a_request_that_is_tried_again_is_no_error(caplog: pytest.LogCaptureFixture, text: str, level: int) -> None:
    logger = logging.getLogger(REQUESTS[0])
    kept = Retried()
    logger.addFilter(kept)
    try:
        logger.error(text)
    finally:
        logger.removeFilter(kept)
    assert [(each.levelno, each.levelname) for each in caplog.records] == [(level, logging.getLevelName(level))]


def test_those_who_make_requests_for_kopf_are_its_modules() -> None:
    """Their names are private to it."""
    for name in REQUESTS:
        assert importlib.import_module(name).logger.name == name
