"""What is nested deeper than Python reads is read without what is too deep."""

import msgspec
import pytest

from nodewall.api import parsed
from nodewall.api.shallow import DEEPEST, shallow


def nested(levels: int, inner: str = "1") -> str:
    return '{"a":[' * (levels // 2) + inner + "]}" * (levels // 2)


@pytest.mark.parametrize(
    "text",
    ["", "1", '"[[["', r'{"a\"[":"\\","b":[[],{}]}', nested(DEEPEST), f"[{nested(DEEPEST - 2)},{nested(DEEPEST - 2)}]"],
)
def test_what_is_not_too_deep_stays_byte_for_byte(text: str) -> None:
    assert shallow(text.encode()) == text.encode()


def test_what_is_too_deep_is_null_and_what_is_beside_it_stays() -> None:
    text = f'{{"x":1,"deep":{nested(100_000, r"[2,{},null]")},"y":["z]"]}}'
    found = msgspec.json.decode(shallow(text.encode()))
    assert (found["x"], found["y"]) == (1, ["z]"])
    levels, value = 1, found["deep"]
    while value is not None:
        levels, value = levels + 1, value["a"] if isinstance(value, dict) else value[0]
    assert levels == DEEPEST


def test_each_of_several_is_cut_by_itself() -> None:
    deep = "[" * 300 + "]" * 300
    cut = "[" * (DEEPEST - 1) + "null" + "]" * (DEEPEST - 1)
    assert shallow(f"[{deep},7,{deep}]".encode()) == f"[{cut},7,{cut}]".encode()


@pytest.mark.parametrize("text", ["[" * 5000, "]" * 5000 + "[" * 5000, '["' + "[" * 5000, '{"a":' * 5000 + "}" * 4000])
def test_half_of_a_text_is_no_json_afterwards_either(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(shallow(text.encode()))


def test_an_object_with_something_too_deep_is_read() -> None:
    text = f'{{"metadata":{{"name":"n1","managedFields":{nested(5000)}}},"spec":{{"v":1}}}}'
    found = parsed.decode(text.encode())
    assert (found["metadata"]["name"], found["spec"]) == ("n1", {"v": 1})
