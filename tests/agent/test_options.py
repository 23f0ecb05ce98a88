"""The options of the agent."""

from pathlib import Path

import pytest

from nodewall.agent import options
from nodewall.model.errors import BadInputError
from nodewall.telemetry.web import Address


def test_defaults() -> None:
    chosen = options.agent(["--node", "n1"], {})
    assert chosen.node == "n1"
    assert chosen.kubeconfig is None
    assert chosen.state_directory == Path("/var/lib/nodewall")
    assert chosen.health == Address("127.0.0.1", 9811)
    assert chosen.metrics is None


def test_a_flag_beats_the_environment_beats_the_default() -> None:
    environ = {"NODEWALL_NODE": "from-env", "NODEWALL_HEALTH_ADDRESS": "[::1]:99", "NODEWALL_STATE_DIRECTORY": "/x"}
    chosen = options.agent(["--node=from-flag"], environ)
    assert chosen.node == "from-flag"
    assert chosen.health == Address("::1", 99)
    assert chosen.state_directory == Path("/x")


WRONG = {
    "no node": ([], "--node: must be given, here or in $NODEWALL_NODE"),
    "empty node": (["--node="], "--node: must be given"),
    "bad node": (["--node=N 1"], "must be the name of a Node"),
    "slash": (["--node=a/b"], "must be the name of a Node"),
    "no port": (["--node=n1", "--health-address=127.0.0.1"], "--health-address: '127.0.0.1': must be ADDRESS:PORT"),
    "port": (["--node=n1", "--health-address=127.0.0.1:99999"], "the port 0 to 65535"),
    "level": (["--node=n1", "--log-level=loud"], "must be one of debug, info, warning, error"),
    "relative": (["--node=n1", "--state-directory=x"], "must be an absolute path"),
    "unknown": (["--node=n1", "--wat"], "unknown option --wat"),
    "no value": (["--node"], "expected one argument"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_said_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        options.agent(arguments, {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(BadInputError, match=r"\$NODEWALL_LOG_LEVEL"):
        options.agent(["--node=n1"], {"NODEWALL_LOG_LEVEL": "loud"})


def test_every_option_has_a_flag_and_a_variable_of_one_name() -> None:
    for option in options.AGENT:
        assert option.variable == "NODEWALL_" + option.flag.removeprefix("--").upper().replace("-", "_")
    assert len({option.flag for option in options.AGENT}) == len(options.AGENT)
