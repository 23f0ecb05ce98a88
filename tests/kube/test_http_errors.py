"""Each refusal is the error that its cause is, and says which verb on which resource."""

import json

import pytest

from nodewall.kube.errors import (
    ApiError,
    Call,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RefusedError,
    ServerError,
    ThrottledError,
    TooLargeError,
    UnauthorizedError,
    refusal,
)
from nodewall.kube.http import Target, connect
from nodewall.kube.resource import NODE_RULE_SETS
from tests.kube.fake_api import FakeApi, Refuse

CALL = Call("patch", "noderulesets.nodewall.io n1")

REFUSALS: list[tuple[int, str, type[RefusedError], bool]] = [
    # status, message, error, permanent
    (400, "bad request", InvalidError, True),
    (401, "Unauthorized", UnauthorizedError, False),
    (403, "forbidden", ForbiddenError, False),
    (404, "not found", NotFoundError, False),
    (405, "not allowed", InvalidError, True),
    (409, "modified", ConflictError, False),
    (410, "too old resource version", ExpiredError, False),
    (413, "Request entity too large: limit is 3145728", TooLargeError, True),
    (415, "unsupported media type", InvalidError, True),
    (422, "spec.tier: Unsupported value", InvalidError, True),
    (422, "etcdserver: request is too large", TooLargeError, True),
    (429, "too many requests", ThrottledError, False),
    (500, "etcdserver: request is too large", TooLargeError, True),
    (500, "rpc error: desc = trying to send message larger than max (2440155 vs. 2097152)", TooLargeError, True),
    (500, "etcdserver: leader changed", ServerError, False),
    (503, "apiserver not ready", ServerError, False),
    (504, "Timeout: Too large resource version: 9, current: 5", ExpiredError, False),
    (301, "moved", ServerError, False),
]


@pytest.mark.parametrize(("status", "message", "error", "permanent"), REFUSALS)
def test_a_refusal_by_its_status(status: int, message: str, error: type[RefusedError], permanent: bool) -> None:
    said = refusal(CALL, status, json.dumps({"kind": "Status", "message": message, "reason": "X"}).encode())
    assert type(said) is error
    assert said.permanent is permanent
    assert (said.status, said.reason) == (status, "X")
    assert str(said) == f"patch noderulesets.nodewall.io n1: {message}"


def test_the_code_of_an_error_in_a_stream_is_in_its_object() -> None:
    said = refusal(CALL, 0, b'{"kind":"Status","code":410,"reason":"Expired","message":"too old"}')
    assert type(said) is ExpiredError
    assert said.status == 410


BODIES = [
    (b"<html>\n<h1>Bad\r\nGateway</h1>", "<html> <h1>Bad Gateway</h1>"),
    (b"", "HTTP 502"),
    (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
    (b"[]", "[]"),
    (b"x" * 100_000, "x" * 1024),
]


@pytest.mark.parametrize(("body", "message"), BODIES)
def test_an_answer_that_is_no_status_is_quoted_on_one_line(body: bytes, message: str) -> None:
    assert refusal(CALL, 502, body).message == message


WISHES = [
    ("7", {}, 7.0),
    ("", {"retryAfterSeconds": 3}, 3.0),
    ("", {}, None),
    ("Wed, 21 Oct 2015 07:28:00 GMT", {}, None),
    ("-1", {}, None),
]


@pytest.mark.parametrize(("header", "details", "wish"), WISHES)
def test_when_to_come_back(header: str, details: dict[str, int], wish: float | None) -> None:
    assert refusal(CALL, 429, json.dumps({"details": details}).encode(), header).retry_after == wish


async def test_a_refused_request_raises_its_error() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.fail("patch", Refuse(403, 'User "x" cannot patch resource "noderulesets"', "Forbidden"))
        with pytest.raises(ForbiddenError, match=r"^patch noderulesets.nodewall.io/status n1: User .x. cannot patch"):
            await session.merge_patch(Target(NODE_RULE_SETS, "n1", subresource="status"), {}, "me")


async def test_a_redirect_is_not_followed_with_our_token() -> None:
    async with FakeApi() as api, connect(api.credentials("secret")) as session:
        api.fail("get", Refuse(302, headers={"Location": f"http://127.0.0.1:{api.port}/elsewhere"}))
        with pytest.raises(ServerError):
            await session.get(Target(NODE_RULE_SETS, "n1"))
        assert len(api.requests) == 1


def test_every_error_is_in_the_drawn_tree() -> None:
    import nodewall.kube.errors as module  # noqa: PLC0415

    names = {name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, ApiError)}
    assert module.__doc__ is not None
    assert [name for name in sorted(names) if name not in module.__doc__] == []
