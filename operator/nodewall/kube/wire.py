"""The shapes of list and watch on the wire, decoded as far as a mirror needs them and no further.

Items stay ``msgspec.Raw``: a page of 500 pods is 3 MB of text, and its dictionaries would be twenty times that. A
projection decodes one item, keeps what it wants, and the text goes with the page.
"""

from typing import TypeVar

import msgspec

from nodewall.api import shallow
from nodewall.kube.errors import BadAnswerError, Call

T = TypeVar("T")


class ListMeta(msgspec.Struct, frozen=True):
    """``metadata`` of a list."""

    resourceVersion: str = ""  # noqa: N815 - the wire's name
    continue_: str = msgspec.field(default="", name="continue")


class ListPage(msgspec.Struct, frozen=True):
    """One answer to a list. Go writes an empty list as null."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch. ``type`` is ADDED, MODIFIED, DELETED or BOOKMARK once it has left ``Session.watch``."""

    type: str
    object: msgspec.Raw


class ObjectMeta(msgspec.Struct, frozen=True):
    """``metadata`` of any object, as far as we follow it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - the wire's name
    generation: int = 0


class Envelope(msgspec.Struct, frozen=True):
    """Any object, without its contents."""

    metadata: ObjectMeta


class ApiResource(msgspec.Struct, frozen=True):
    """One entry of a discovery document; subresources have a slash in their name, and the kind of their parent."""

    name: str
    kind: str = ""
    namespaced: bool = False


class ApiResourceList(msgspec.Struct, frozen=True):
    """A discovery document."""

    resources: list[ApiResource]


class Decoder:
    """The decoders of this module: building one costs more than using it."""

    page = msgspec.json.Decoder(ListPage)
    event = msgspec.json.Decoder(WatchEvent)
    envelope = msgspec.json.Decoder(Envelope)
    discovery = msgspec.json.Decoder(ApiResourceList)


def decode(decoder: "msgspec.json.Decoder[T]", data: bytes | msgspec.Raw, call: Call) -> T:
    """``data`` as its type. Raises ``BadAnswerError`` for truncated JSON and for another shape."""
    try:
        return shallow.read(decoder.decode, data)
    except msgspec.DecodeError as error:
        raise BadAnswerError(call, f"cannot read the answer: {error}") from error


class LineSplitter:
    """Cuts a stream into lines, wherever its chunks happen to end. A line may be of any size.

    What follows the last newline when the stream ends is half an event: it is dropped, and comes again on resume.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their newlines and without empty ones."""
        head, *tail = chunk.split(b"\n")
        self._rest.append(head)
        if not tail:
            return []
        lines = [b"".join(self._rest), *tail[:-1]]
        self._rest = [tail[-1]]
        return [line for line in lines if line]
