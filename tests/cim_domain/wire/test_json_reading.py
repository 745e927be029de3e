"""How the JSON of a message is read: the table of the contract, line by line."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from cim_domain import Command
from cim_domain.commands.decoding import read_message
from cim_domain.errors import Invalid

ID = "6f3c1d9a-6c1e-4f55-9f57-0f6f3c1d9a00"


class Say(Command, type="wall.say"):
    number: int = 0
    fraction: float = 0
    flag: bool = False
    text: str = ""
    free: Any = None
    time: datetime | None = None
    id: UUID | None = None


def nested(depth: int) -> bytes:
    return b'{"free":' + b"[" * depth + b"]" * depth + b"}"


READ: list[tuple[bytes, str, Any]] = [
    (b' {"number": 1}\r\n', "number", 1),
    (b'{"number":1,"number":2}', "number", 2),
    (b'{"free":{"a":1,"a":2}}', "free", {"a": 2}),
    (b'{"number":' + b"9" * 4300 + b"}", "number", int("9" * 4300)),
    (b'{"number":-0}', "number", 0),
    (b'{"fraction":1}', "fraction", 1.0),
    (b'{"fraction":0.1000000000000000055}', "fraction", 0.1),
    (b'{"free":9007199254740993}', "free", 9007199254740993),
    (b'{"text":"\\u00e4\\ud83e\\udd8a\\u0000"}', "text", "ä🦊\0"),
    (b'{"text":" A "}', "text", " A "),
    (b'{"text":"NaN","free":"Infinity"}', "free", "Infinity"),
    (b'{"free":null,"time":null}', "time", None),
    (b'{"id":"%b"}' % ID.upper().encode(), "id", UUID(ID)),
    (b'{"id":"%b"}' % ID.replace("-", "").encode(), "id", UUID(ID)),
    (b'{"id":"{%b}"}' % ID.encode(), "id", UUID(ID)),
    (b'{"id":"urn:uuid:%b"}' % ID.encode(), "id", UUID(ID)),
]
REFUSED: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{}{}",
    b"{} x",
    b"\xef\xbb\xbf{}",
    b'{"text":"\xff"}',
    b'{"text":"\\ud800"}',
    b'{"text":"a\tb"}',
    b"{'text':''}",
    b"{/*x*/}",
    b'{"number":1,}',
    b'{"Number":1}',
    b'{"other":1}',
    b'{"number":null}',
    b'{"number":1.0}',
    b'{"number":1e2}',
    b'{"number":"1"}',
    b'{"number":007}',
    b'{"number":true}',
    b'{"number":' + b"9" * 4301 + b"}",
    b'{"fraction":NaN}',
    b'{"fraction":-Infinity}',
    b'{"free":NaN}',
    b'{"free":[{"a":-Infinity}]}',
    b'{"fraction":1e999}',
    b'{"fraction":"1"}',
    b'{"flag":1}',
    b'{"flag":"true"}',
    b'{"text":1}',
    b'{"time":1}',
    b'{"id":1}',
]


@pytest.mark.parametrize(("data", "field", "value"), READ, ids=lambda one: str(one)[:40])
def test_it_is_read_as_the_contract_says(data: bytes, field: str, value: Any) -> None:
    assert getattr(read_message(Say, data), field) == value


@pytest.mark.parametrize("data", REFUSED, ids=lambda one: str(one)[:40])
def test_what_the_contract_does_not_have_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        read_message(Say, data)
    assert refused.value.code == "invalid"


def test_it_is_read_200_deep() -> None:
    assert read_message(Say, nested(200)).free
    with pytest.raises(Invalid):
        read_message(Say, nested(201))


def test_an_error_names_20_fields_and_cuts_what_is_long() -> None:
    fields = b",".join(b'"%d%b":1' % (number, b"x" * 300) for number in range(30))
    with pytest.raises(Invalid) as refused:
        read_message(Say, b"{" + fields + b"}")
    told = refused.value.details["fields"]
    assert len(told) == 20
    assert {len(one["path"]) for one in told} == {200}
    assert "and 29 more" in refused.value.message
