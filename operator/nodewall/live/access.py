"""The way to the cluster for a person's verb, and what may go wrong on it: one line each."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nodewall import __version__
from nodewall.kube import credentials
from nodewall.kube.credentials import Credentials
from nodewall.kube.errors import ApiError, CredentialsError
from nodewall.kube.http import Session, connect
from nodewall.model.errors import BadInputError

T = TypeVar("T")
_PROGRAMS = (".exec", ".auth-provider")
"""Fields of a kubeconfig that name a program, or a service, which has to be asked first."""


@dataclass(frozen=True, slots=True)
class Way:
    """``kubeconfig`` None: $KUBECONFIG, ~/.kube/config, or in a pod its ServiceAccount. ``context`` "": the current
    one.
    """

    kubeconfig: Path | None = None
    context: str = ""


def ask(way: Way, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do the work with a session. Raises BadInputError: there is no way to the cluster, or it refuses."""
    try:
        return asyncio.run(_ask(way, work))
    except (ApiError, CredentialsError) as error:
        raise BadInputError(str(error)) from error


async def _ask(way: Way, work: Callable[[Session], Awaitable[T]]) -> T:
    async with connect(await _credentials(way), user_agent=f"nodewall/{__version__}") as session:
        return await work(session)


async def _credentials(way: Way) -> Credentials:
    """Most kubeconfigs are read by us. One that wants a program to be run is left to the library that can."""
    try:
        return credentials.find(way.kubeconfig, way.context)
    except CredentialsError as error:
        if not error.field.endswith(_PROGRAMS) and error.file != "$KUBECONFIG":
            raise
    from nodewall.kube import client  # noqa: PLC0415 - takes longer to import than all the rest to run

    return await client.credentials(way.kubeconfig, way.context)
