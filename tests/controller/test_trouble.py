"""What is missing is said in one line, with what to do about it, and waited for."""

import json
import logging
import signal
import socket
import subprocess
import sys

import pytest

from nodewall.controller.telling import advice
from nodewall.kube.errors import ApiError, Call, ForbiddenError, NotFoundError, ServerError
from nodewall.kube.resource import CLUSTER_NETWORK_POLICIES, NODE_RULE_SETS
from tests.controller.running import furnish, listed, rule_sets, running, until
from tests.kube.fake_api import KINDS, FakeApi

CALL = Call("list", "pods")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ForbiddenError(CALL, "no"), "list pods: no; a permission is missing: kubectl apply -f manifests/ grants it"),
        (NotFoundError(CALL, "no"), "if the CustomResourceDefinition is missing, kubectl apply -f manifests/ installs"),
        (ServerError(CALL, "no"), "list pods: no"),
    ],
)
def test_advice(error: ApiError, says: str) -> None:
    assert says in advice(error)


async def test_a_missing_definition_of_ours_is_said_once_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeApi(set(KINDS) - {NODE_RULE_SETS}) as api:
        furnish(api)
        async with running(api) as listing:
            await until("listed", listing.done.is_set)
            await until("asked again", lambda: len(api.asked("discover")) > 3)
            api.install(NODE_RULE_SETS)
            await until("written", lambda: len(rule_sets(api)) == 2)
        named = "CustomResourceDefinition noderulesets.nodewall.io is missing; kubectl apply -f manifests/ installs it"
        assert [each.getMessage() for each in caplog.records if named in each.getMessage()] == [f"the {named}"]
        assert not [each for each in caplog.records if each.exc_info]


async def test_the_upstream_definition_is_no_trouble_when_missing(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeApi(set(KINDS) - {CLUSTER_NETWORK_POLICIES}) as api:
        furnish(api)
        async with listed(api):
            pass
        assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_an_object_that_cannot_be_read_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeApi() as api:
        furnish(api)
        api.put(NODE_RULE_SETS, {"metadata": {"name": "n1", "ownerReferences": "nonsense"}, "spec": {}})
        async with listed(api):
            await until("said", lambda: any("could not be taken in" in each.getMessage() for each in caplog.records))


def test_a_port_that_is_taken_ends_it_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = [sys.executable, "-m", "nodewall.cli", "controller", "--health-address", address]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["level"], last.keys() & {"exception"}) == ("critical", set())
    assert last["message"].startswith("cannot serve health and metrics: ")
    assert address.rpartition(":")[2] in last["message"]


def test_a_kubeconfig_that_is_not_there_is_said_and_waited_for() -> None:
    argv = [sys.executable, "-m", "nodewall.cli", "controller", "--health-address", "127.0.0.1:0"]
    process = subprocess.Popen([*argv, "--kubeconfig", "/nowhere"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = [json.loads(process.stderr.readline())["message"] for _ in range(3)]
        assert said[1:] == [said[2]] * 2
        assert said[1].startswith("there is no way to the API server: /nowhere: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
