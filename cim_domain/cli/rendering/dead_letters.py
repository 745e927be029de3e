"""How dead letters look to people and to programs."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import orjson
from attrs import frozen
from rich.text import Text

from cim_domain.cli.escaping import escaped
from cim_domain.cli.reading.domain import read_domain
from cim_domain.cli.rendering.tables import facts, result, table
from cim_domain.errors import ModelError, RequestError
from cim_domain.model.domain import Domain
from cim_domain.model.subjects import Subjects
from cim_domain.nats.jetstream.dead_letter_box import StoredLetter
from cim_domain.wire.codec import read_event, write_time

HEADER = ("letter", "time", "consumer", "message", "sequence", "tried", "code", "reason")


@frozen
class Decoded:
    """The event of a letter as the code reads it today, or why it cannot."""

    message_type: str
    fields: Any = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        outcome = {"data": self.fields} if self.problem is None else {"error": self.problem}
        return {"type": self.message_type, **outcome}


def decode(stored: StoredLetter, subjects: Subjects, domain: Domain | None) -> Decoded | None:
    """The event, its older versions brought up to date; None where the letter is of no event.

    Without a `domain`, the one of that name is looked for.
    """
    letter = stored.letter
    if not letter.subject.startswith(f"{subjects.root}.journal."):
        return None
    record = read_event(
        letter.subject, letter.headers, letter.data, letter.sequence, subjects.service
    )
    message_type = record.metadata.message_type
    try:
        domain = domain or read_domain(subjects.domain)
        event = domain.read_event(record.metadata, record.data)
    except (RequestError, ModelError) as error:
        return Decoded(message_type, problem=str(error))
    return Decoded(message_type, orjson.loads(event.to_wire()))


def letters_text(letters: Sequence[StoredLetter], width: int | None) -> Text:
    """Letters: a line for each, or a few that are no longer than `width`, unless a word is."""
    return _table(letters) if width is None else _list(letters, width)


def _table(letters: Sequence[StoredLetter]) -> Text:
    return table(
        HEADER,
        [
            (
                Text(str(one.sequence), style="bold"),
                Text(write_time(one.time), style="dim"),
                Text(escaped(one.letter.consumer), style="cyan"),
                one.letter.subject,
                str(one.letter.sequence or ""),
                str(one.letter.deliveries),
                Text(escaped(one.letter.code), style="red"),
                one.letter.reason,
            )
            for one in letters
        ],
    )


def _list(letters: Sequence[StoredLetter], width: int) -> Text:
    indent = " " * (max(len(str(one.sequence)) for one in letters) + 2)
    lines: list[Text] = []
    for one in letters:
        letter = one.letter
        time = write_time(one.time.replace(microsecond=0)).replace(".000000", "")
        lines.append(
            Text.assemble(
                (f"{one.sequence:<{len(indent)}}", "bold"),
                (f"{time}  ", "dim"),
                (f"{escaped(letter.consumer)}  ", "cyan"),
                (escaped(letter.code), "red"),
            )
        )
        place = f" at {letter.sequence}" if letter.sequence else ""
        tried = f", tried {letter.deliveries} times" if letter.deliveries > 1 else ""
        for text in (f"{letter.subject}{place}{tried}", letter.reason):
            lines += [Text(f"{indent}{part}") for part in _wrapped(text, width - len(indent))]
    return Text("\n").join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    words = escaped(" ".join(text.split()))
    return wrap(words, max(width, 20), break_long_words=False, break_on_hyphens=False)


def letter_dict(stored: StoredLetter) -> dict[str, Any]:
    """A letter for programs, without what is in it."""
    letter = stored.letter
    return {
        "sequence": stored.sequence,
        "time": write_time(stored.time),
        "consumer": letter.consumer,
        "code": letter.code,
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "message": {
            "subject": letter.subject,
            "sequence": letter.sequence or None,
            "size": stored.cut_from or len(letter.data),
        },
    }


def whole_letter_dict(stored: StoredLetter, decoded: Decoded | None) -> dict[str, Any]:
    """A letter for programs, with all that is in it; `base64` where the payload is no JSON."""
    found = letter_dict(stored)
    message = found["message"]
    message["headers"] = dict(stored.letter.headers)
    message["cut"] = stored.cut_from is not None
    message["headers_cut"] = stored.headers_cut_from is not None
    try:
        message["data"] = orjson.loads(stored.letter.data)
    except orjson.JSONDecodeError:
        message["base64"] = b64encode(stored.letter.data).decode()
    if decoded is not None:
        found["event"] = decoded.as_dict()
    return found


def whole_letter(stored: StoredLetter, decoded: Decoded | None) -> Text:
    """A letter for people: why, where it came from, headers, payload, the event in it."""
    letter = stored.letter
    told = {
        "letter": stored.sequence,
        "time": write_time(stored.time),
        "consumer": letter.consumer,
        "reason": letter.reason,
        "code": letter.code,
        "tried": letter.deliveries,
        "subject": letter.subject,
        "sequence": letter.sequence or "in no stream",
    }
    size = f"payload, {len(letter.data)} bytes"
    if stored.cut_from is not None:
        size += f" of {stored.cut_from}: there was no room for more"
    headers = "headers"
    if stored.headers_cut_from is not None:
        headers += f", {stored.headers_cut_from} bytes: there was no room for them"
    parts = [_rows(told), _title(headers), _rows(letter.headers), _title(size)]
    parts.append(_payload(letter.data))
    if decoded is not None:
        parts.append(_title(f"{decoded.message_type}, as it is read today"))
        problem = decoded.problem
        text = result(decoded.fields) if problem is None else Text(escaped(problem), style="red")
        parts.append(text)
    return Text("\n").join(parts)


def _rows(values: Mapping[str, object]) -> Text:
    rows = [(escaped(name), Text(escaped(str(value)))) for name, value in values.items()]
    return facts(rows) if rows else Text("(none)", style="dim")


def _title(words: str) -> Text:
    return Text(f"\n{escaped(words)}", style="bold")


def _payload(data: bytes) -> Text:
    try:
        return result(orjson.loads(data))
    except orjson.JSONDecodeError:
        return Text(escaped(data.decode(errors="replace"), lines=True))
