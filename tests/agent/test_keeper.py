"""The newest rule set goes to disk, whenever the disk takes it."""

import asyncio
import errno
import tempfile
from pathlib import Path

from nodewall.agent.decide import RuleSet, State, Target
from nodewall.agent.listen import Keeper
from nodewall.agent.loop import Inbox
from nodewall.agent.saved import Saved
from nodewall.render import Settings, render
from tests.agent.node import until
from tests.agent.rulesets import content
from tests.agent.test_report import Impatient

CONTENT = content("10.0.2.1")
TARGET = Target(RuleSet("u", 1, "d", CONTENT, b"its source"), Settings(), render(CONTENT))


def told(inbox: Inbox, state: State) -> State:
    messages, _, _ = inbox.take()
    for message in messages:
        state = message(state, 0.0)
    return state


class ReadOnly(Saved):
    """Names another file each time, as the kernel does."""

    def store(self, content: bytes) -> None:  # noqa: ARG002 - none of it is taken
        raise OSError(errno.EROFS, "Read-only file system", tempfile.mktemp(dir=self.directory))  # noqa: S306 - a name


async def test_what_goes_on_is_no_news(tmp_path: Path) -> None:
    inbox, clock = Inbox(), Impatient()
    keeper = Keeper(ReadOnly(tmp_path), inbox, clock)
    keeper.keep(TARGET)
    task = asyncio.create_task(keeper.run())
    await until(lambda: len(clock.slept) > 2, "it was tried three times")
    messages, _, _ = inbox.take()
    assert len({message(State(), 0.0) for message in messages}) == 1
    task.cancel()


async def test_what_the_disk_refused_is_there_once_it_takes_it(tmp_path: Path) -> None:
    """Though nothing changes on the node, where the next rule set may be days away."""
    saved, inbox, clock = Saved(tmp_path / "state"), Inbox(), Impatient()
    saved.directory.write_text("in the way")
    keeper = Keeper(saved, inbox, clock)
    keeper.keep(TARGET)
    task = asyncio.create_task(keeper.run())
    await until(lambda: len(clock.slept) > 2, "it was tried three times")
    state = told(inbox, State())
    assert [each.reason for each in state.findings] == ["RuleSetUnsaved"]
    assert set(clock.slept) == {Keeper.RETRY}
    saved.directory.unlink()
    await until(lambda: Keeper.PAUSE in clock.slept, "it is written")
    assert saved.load() == b"its source"
    assert told(inbox, state).findings == ()
    task.cancel()
