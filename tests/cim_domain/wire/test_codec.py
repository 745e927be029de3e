"""Metadata as headers, and back."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cim_domain.errors import Invalid
from cim_domain.model.metadata import Metadata
from cim_domain.nats.connection.headers import read_headers
from cim_domain.nats.connection.lazy_headers import LazyHeaders
from cim_domain.nats.connection.limits import check_header
from cim_domain.nats.connection.publications import header_block
from cim_domain.testing.records import event
from cim_domain.wire.codec import (
    bad_header,
    error_headers,
    event_headers,
    read_event,
    read_time,
    whole_number,
    write_time,
)

names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
words = st.from_regex(r"[!-~]([ -~]{0,60}[!-~])?", fullmatch=True)
ids = st.uuids().map(str)
FIRST, LAST = datetime.fromisoformat("0001-01-03"), datetime.fromisoformat("9999-12-29")
times = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
metadata = st.builds(
    Metadata,
    message_id=ids,
    message_type=st.tuples(names, names).map(".".join),
    correlation_id=words,
    causation_id=words,
    timestamp=times,
    source=st.just("cim-domain-nix"),
    aggregate_id=ids,
    aggregate_version=st.integers(1, 10**18 - 1),
    schema_version=st.integers(1, 10**6),
    organization_id=st.none() | words,
    sequence=st.integers(1, 10**18),
    trace_parent=st.none() | words,
    actor_id=st.none() | words,
    meta=st.dictionaries(st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True), words, max_size=3),
)


@given(metadata, st.binary(max_size=100))
def test_an_event_comes_back_as_it_was_written(written: Metadata, data: bytes) -> None:
    aggregate, action = written.message_type.split(".")
    subject = f"nix.journal.3.{aggregate}.{written.aggregate_id}.{action}"
    headers = event_headers(written)
    for name, value in headers.items():
        check_header(name, value)
    record = read_event(subject, headers, data, written.sequence, "cim-domain-nix")
    assert record.metadata == written
    assert record.data == data


@given(st.dictionaries(st.sampled_from(list(event_headers(
    Metadata(
        message_id="1",
        message_type="flake.created",
        correlation_id="1",
        causation_id="1",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        source="s",
        schema_version=2,
        organization_id="o",
        trace_parent="t",
    )
))), st.text(max_size=40)))  # fmt: skip
def test_no_headers_stop_the_log(headers: dict[str, str]) -> None:
    subject = "nix.journal.3.flake.x.created"
    record = read_event(subject, headers, b"", 7, "s")
    assert record.metadata.sequence == 7
    assert record.metadata.aggregate_version == 0
    assert record.metadata.message_type == "flake.created"
    assert record.metadata == read_event(subject, None, b"", 7, "s").metadata


def test_headers_without_a_reader_are_not_there() -> None:
    headers = event_headers(
        Metadata(
            message_id="1",
            message_type="flake.created",
            correlation_id="2",
            causation_id="3",
            timestamp=datetime(2026, 11, 21, 8, 30, 0, 250_000, UTC),
            source="s",
            aggregate_id="4",
            aggregate_version=5,
        )
    )
    assert headers == {
        "Nats-Msg-Id": "1",
        "X-Event-ID": "1",
        "X-Event-Type": "flake.created",
        "X-Correlation-ID": "2",
        "X-Causation-ID": "3",
        "X-Aggregate-ID": "4",
        "X-Aggregate-Version": "5",
        "X-Timestamp": "2026-11-21T08:30:00.250000Z",
    }


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2026, 11, 21, 8, 30, tzinfo=UTC), "2026-11-21T08:30:00.000000Z"),
        (datetime(2026, 11, 21, 8, 30, 0, 1, UTC), "2026-11-21T08:30:00.000001Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (
            datetime(2026, 1, 1, 0, 0, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
            "2026-01-01T03:30:00.000000Z",
        ),
    ],
)
def test_times_are_rfc_3339_in_utc(time: datetime, text: str) -> None:
    assert write_time(time) == text
    assert read_time(text) == time


@given(st.datetimes(FIRST, LAST, timezones=st.timezones()))
def test_a_time_of_any_zone_keeps_its_instant(time: datetime) -> None:
    read = read_time(write_time(time))
    assert read == time.astimezone(UTC)
    assert read.utcoffset() == timedelta(0)


def test_a_time_written_elsewhere_is_read_as_utc() -> None:
    expected = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    for text in ("2026-11-21T08:30:00Z", "2026-11-21T10:30:00+02:00", "2026-11-21T08:30:00.000Z"):
        assert read_time(text) == expected
        assert read_time(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-21", "2026-11-21T08:30:00", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_time(text)


@given(st.text())
def test_an_error_of_any_text_fits_into_headers(text: str) -> None:
    headers = error_headers(422, text)
    assert headers["Nats-Service-Error-Code"] == "422"
    for name, value in headers.items():
        check_header(name, value)
    assert len(headers["Nats-Service-Error"]) <= 600


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("field größe:\r\n\tis missing", r"field gr\xf6\xdfe:   is missing"),
        ("two  blanks, 東", r"two  blanks, \u6771"),
        (" \x00 ", r"\x00"),
        ("x" * 600, "x" * 600),
        ("x" * 601, "x" * 597 + "..."),
        ("x" * 600 + " ", "x" * 600),
        ("ä" * 151, r"\xe4" * 149 + r"\..."),
    ],
)
def test_an_errors_text_is_all_there_or_says_that_it_is_cut(text: str, shown: str) -> None:
    assert error_headers(400, text)["Nats-Service-Error"] == shown


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), ("9" * 18, 10**18 - 1)])
def test_a_whole_number_is_read(text: str, number: int) -> None:
    assert whole_number({"X": text}, "X") == number
    assert whole_number({}, "X") is None


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1.0", "1_0", "\u0661", "9" * 19, "x"])
def test_anything_else_is_invalid_and_names_the_header(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        whole_number({"X-Min-Sequence": text}, "X-Min-Sequence")
    assert caught.value.code == "bad_header"
    (field,) = caught.value.details["fields"]
    assert field["path"] == "headers.X-Min-Sequence"
    assert bad_header("X", "y").details["fields"] == [{"path": "headers.X", "message": "y"}]


@given(
    metadata,
    st.lists(st.sampled_from(["Nats-Sequence: 7", "Nats-Batch-Id: a b", "X-Event-ID: other"])),
    st.booleans(),
)
def test_headers_not_taken_apart_tell_the_same(
    written: Metadata, more: list[str], at_odds: bool
) -> None:
    subject = f"nix.journal.3.{written.message_type.replace('.', f'.{written.aggregate_id}.')}"
    if at_odds:
        subject = subject.replace("journal.", "journal.x")
    lines = [f"{name}: {value}" for name, value in event_headers(written).items()] + more
    unread = LazyHeaders("\r\n".join([*lines, "", ""]).encode(), read_headers)
    read = read_event(subject, dict(LazyHeaders(unread.lines, read_headers)), b"{}", 7, "x")
    assert read_event(subject, unread, b"{}", 7, "x") == read


def test_headers_not_taken_apart_are_those_of_any_mapping() -> None:
    headers = LazyHeaders(b"A: 1\r\nB:2\r\n\r\n", read_headers)
    assert headers == {"A": "1", "B": "2"}
    assert (len(headers), headers.get("C"), "A" in headers, bool(headers)) == (2, None, True, True)
    assert repr(headers) == "{'A': '1', 'B': '2'}"
    assert not LazyHeaders(b"\r\n", read_headers)


@pytest.mark.parametrize("time", ["2026-02-30T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z"])
@pytest.mark.parametrize("lazy", [False, True])
def test_an_event_of_a_time_that_is_none_is_foreign(time: str, *, lazy: bool) -> None:
    written = event("5a0f5c4e-0000-4000-8000-000000000001", 1).metadata
    headers = {**event_headers(written), "X-Timestamp": time}
    given = LazyHeaders(header_block(headers).partition(b"\r\n")[2], read_headers)
    subject = f"nix.journal.flake.{written.aggregate_id}.created"
    found = read_event(subject, given if lazy else headers, b"{}", 7, "cim-domain-nix").metadata
    assert (found.aggregate_version, found.sequence, found.message_type) == (0, 7, "flake.created")


class Broken(Mapping[str, str]):
    """Headers that cannot be read at all."""

    def __getitem__(self, name: str) -> str:
        raise RecursionError

    def __iter__(self) -> Iterator[str]:
        raise RecursionError

    def __len__(self) -> int:
        return 1


@given(st.one_of(st.just(Broken()), st.just({"X-Event-Type": "a.b"}), st.none()), st.text())
def test_whatever_is_wrong_with_a_message_it_is_foreign(
    headers: Mapping[str, str] | None, subject: str
) -> None:
    assert read_event(subject, headers, b"", 7, "cim-domain-nix").metadata.aggregate_version == 0
