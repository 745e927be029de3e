"""Own metadata: what a client may say in headers, and what is refused with the header's name."""

import pytest

from cim_domain.errors import Invalid
from cim_domain.wire.header_names import check_names
from cim_domain.wire.own_metadata import OwnMetadata, read_own_metadata


def test_what_is_written_is_read() -> None:
    said = OwnMetadata("user:ann", {"Request-ID": "7 of 9", "ip": "10.0.0.1"})
    headers = said.headers()
    assert headers == {
        "X-Actor-ID": "user:ann",
        "X-Meta-Request-ID": "7 of 9",
        "X-Meta-ip": "10.0.0.1",
    }
    assert read_own_metadata({"X-Command-ID": "other", **headers}) == said


def test_of_nothing_there_is_nothing() -> None:
    assert OwnMetadata().headers() == {}
    assert read_own_metadata({"X-Organization-ID": "acme"}) == OwnMetadata()


def test_as_much_as_may_be() -> None:
    many = {f"X-Meta-{number:064}": "v" * 192 for number in range(16)}
    assert len(read_own_metadata({"X-Actor-ID": "a" * 256, **many}).meta) == 16
    assert read_own_metadata({"X-Meta-a": "v" * 512}).meta == {"a": "v" * 512}


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X-Actor-ID": ""}, "X-Actor-ID"),
        ({"X-Actor-ID": "a" * 257}, "X-Actor-ID"),
        ({"X-Actor-ID": "ann b"}, "X-Actor-ID"),
        ({"X-Actor-ID": "änn"}, "X-Actor-ID"),
        ({"X-Actor-Id": "ann"}, "X-Actor-Id"),
        ({"x-meta-a": "1"}, "x-meta-a"),
        ({"X-Meta-": "1"}, "X-Meta-"),
        ({"X-Meta--a": "1"}, "X-Meta--a"),
        ({"X-Meta-a_b": "1"}, "X-Meta-a_b"),
        ({"X-Meta-" + "a" * 65: "1"}, "X-Meta-" + "a" * 65),
        ({"X-Meta-a": ""}, "X-Meta-a"),
        ({"X-Meta-a": "v" * 513}, "X-Meta-a"),
        ({"X-Meta-a": "ä"}, "X-Meta-a"),
        ({"X-Meta-a": "1\x7f"}, "X-Meta-a"),
        ({"X-Meta-a": "1", "X-Meta-A": "2"}, "X-Meta-*"),
        ({f"X-Meta-{number}": "1" for number in range(17)}, "X-Meta-*"),
        ({f"X-Meta-{number}": "v" * 512 for number in range(8)}, "X-Meta-*"),
    ],
)
def test_anything_else_is_a_bad_header_that_is_named(headers: dict[str, str], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_own_metadata(headers)
    assert refused.value.code == "bad_header"
    [field] = refused.value.details["fields"]
    assert field["path"] == f"headers.{path}"


def test_a_client_sends_none_of_it() -> None:
    with pytest.raises(Invalid, match="X-Meta-a b"):
        OwnMetadata(meta={"a b": "1"}).headers()
    with pytest.raises(Invalid, match="X-Actor-ID"):
        OwnMetadata("").headers()


def test_an_actor_has_no_comma_which_would_be_two_values() -> None:
    with pytest.raises(Invalid, match="no blanks or commas"):
        read_own_metadata({"X-Actor-ID": "cn=ann,ou=acme"})


@pytest.mark.parametrize("name", ["X-Meta- Request", "X-Meta -Request", "x-meta- request"])
def test_a_name_with_a_blank_is_not_dropped_without_a_word(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_names({name: "7"})
    assert refused.value.code == "bad_header"
