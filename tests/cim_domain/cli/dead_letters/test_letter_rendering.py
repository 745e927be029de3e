"""A dead letter that is shown says of itself what it does not hold."""

from datetime import UTC, datetime

from cim_domain.cli.rendering.dead_letters import whole_letter, whole_letter_dict
from cim_domain.dead_letters import DeadLetter
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter


def stored(cut_from: int | None, headers_cut_from: int | None) -> StoredLetter:
    return StoredLetter(
        sequence=1,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        letter=DeadLetter(consumer="commands", subject="s", data=b"{}", code="c", reason="r"),
        cut_from=cut_from,
        headers_cut_from=headers_cut_from,
    )


def test_what_was_cut_is_said() -> None:
    shown = whole_letter(stored(70_000, 66_000), None).plain
    assert "payload, 2 bytes of 70000: there was no room for more" in shown
    assert "headers, 66000 bytes: there was no room for them" in shown
    message = whole_letter_dict(stored(70_000, 66_000), None)["message"]
    assert (message["cut"], message["headers_cut"]) == (True, True)


def test_of_a_whole_letter_nothing_is_said() -> None:
    assert "no room" not in whole_letter(stored(None, None), None).plain
    message = whole_letter_dict(stored(None, None), None)["message"]
    assert (message["cut"], message["headers_cut"]) == (False, False)
