"""`nodewall agent` and `nodewall cleanup`: from the command line to a process that ends as it should.

What is missing (permission, the API server, a CustomResourceDefinition) is said in one line and tried again. Besides a
signal only an option that cannot be understood, or a port that is taken, ends the agent.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodewall import __version__
from nodewall.agent import flowlog_socket, options, shut
from nodewall.agent.assembly import Agent
from nodewall.agent.kernel import TABLE, Kernel, KernelError
from nodewall.agent.options import Options
from nodewall.agent.saved import Saved
from nodewall.kube.clock import SystemClock
from nodewall.model.errors import BadInputError, NodewallError
from nodewall.render import Settings
from nodewall.telemetry import logs
from nodewall.telemetry.options import parse

log = logging.getLogger(__name__)

DONE, FAILED, WRONG_USE = 0, 1, 2


def agent(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """`nodewall agent`: until a signal. Returns the exit code."""
    try:
        chosen = options.agent(arguments, environ)
    except BadInputError as error:
        return _complain(error)
    logs.configure(chosen.log_level, chosen.log_format)
    try:
        asyncio.run(_until_signal(chosen, environ))
    except NodewallError as error:
        log.critical("%s", error)
        return FAILED
    return DONE


def cleanup(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """`nodewall cleanup`: remove the table and the saved rule set of this node. Needs no API server. Returns the exit
    code.
    """
    try:
        chosen = parse("nodewall cleanup", options.CLEANUP, arguments, environ)
    except BadInputError as error:
        return _complain(error)
    logs.configure(chosen.log_level, chosen.log_format)
    try:
        asyncio.run(_clean(chosen.state_directory))
    except (KernelError, OSError) as error:
        log.critical("the node is not clean: %s", error)
        return FAILED
    return DONE


def _complain(error: BadInputError) -> int:
    print(f"nodewall: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
    return WRONG_USE


async def _clean(state_directory: Path) -> None:
    kernel = await Kernel.open()
    try:
        removed = await kernel.delete_table()
    finally:
        kernel.close()
    log.info("the table was removed" if removed else "there was no table", extra={"fields": {"table": TABLE}})
    if Saved(state_directory).remove():
        log.info("the saved rule set was removed", extra={"fields": {"directory": str(state_directory)}})
    if flowlog_socket.is_read(Settings().nflog_group):
        log.warning("an agent runs here and puts the table back; end it, and clean up again")


async def _until_signal(chosen: Options, environ: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT. The table stays: whatever stops the agent must not open the node."""
    work = asyncio.create_task(_run(chosen, environ))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        log.info("stopped; the table stays in force")


async def _run(chosen: Options, environ: Mapping[str, str]) -> None:
    clock = SystemClock()
    log.info("starting", extra={"fields": {"version": __version__, "node": chosen.node}})
    kernel = await shut.enter(chosen, environ, clock)
    try:
        await Agent(chosen, environ, kernel, clock).run()
    finally:
        kernel.close()
