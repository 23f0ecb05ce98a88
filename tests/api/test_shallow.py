"""What is nested deeper than Python reads is read without what is too deep."""

import msgspec
import pytest

from nodewall.api import parsed
from nodewall.api.shallow import DEEPEST, cut, read

TOO_DEEP = 100_000
"""For every version of Python."""


def nested(levels: int, inner: str = "1") -> str:
    return '{"a":[' * (levels // 2) + inner + "]}" * (levels // 2)


@pytest.mark.parametrize(
    "text",
    ["", "1", '"[[["', r'{"a\"[":"\\","b":[[],{}]}', nested(DEEPEST), f"[{nested(DEEPEST - 2)},{nested(DEEPEST - 2)}]"],
)
def test_what_is_not_too_deep_stays_byte_for_byte(text: str) -> None:
    assert cut(text.encode()) == text.encode()


def test_what_is_too_deep_is_null_and_what_is_beside_it_stays() -> None:
    text = f'{{"x":1,"deep":{nested(TOO_DEEP, r"[2,{},null]")},"y":["z]"]}}'
    found = msgspec.json.decode(cut(text.encode()))
    assert (found["x"], found["y"]) == (1, ["z]"])
    levels, value = 1, found["deep"]
    while value is not None:
        levels, value = levels + 1, value["a"] if isinstance(value, dict) else value[0]
    assert levels == DEEPEST


def test_each_of_several_is_cut_by_itself() -> None:
    deep = "[" * 300 + "]" * 300
    left = "[" * (DEEPEST - 1) + "null" + "]" * (DEEPEST - 1)
    assert cut(f"[{deep},7,{deep}]".encode()) == f"[{left},7,{left}]".encode()


@pytest.mark.parametrize("text", ["[" * 5000, "]" * 5000 + "[" * 5000, '["' + "[" * 5000, '{"a":' * 5000 + "}" * 4000])
def test_half_of_a_text_is_no_json_afterwards_either(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(cut(text.encode()))


def test_an_object_with_something_too_deep_is_read() -> None:
    text = f'{{"metadata":{{"name":"n1","managedFields":{nested(TOO_DEEP)}}},"spec":{{"v":1}}}}'
    found = parsed.decode(text.encode())
    assert (found["metadata"]["name"], found["spec"]) == ("n1", {"v": 1})


@pytest.mark.parametrize("form", [bytes, memoryview, msgspec.Raw])
def test_a_reader_gets_what_is_cut_only_where_it_ends(form: type) -> None:
    given = list[object]()

    def decode(text: bytes | msgspec.Raw) -> object:
        given.append(text)
        return msgspec.json.decode(text)

    assert read(decode, form(b"[[1]]")) == [[1]]
    assert len(given) == 1
    assert read(decode, form(f'{{"a":1,"b":{nested(TOO_DEEP)}}}'.encode()))["a"] == 1  # type: ignore[index]
    assert [type(each) for each in given] == [form] * 3
