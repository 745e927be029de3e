"""Text from elsewhere on its way to a terminal or a log."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cim_domain.cli.escaping import escaped, escaped_json
from cim_domain.cli.log_setup import configure_logging

HOSTILE = ["\x1b[2J", "\x9b31m", "\r", "\x00", "\u202e", "\u200b", "\u2028", "\ud800", "\U000e0041"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_acts_or_hides_is_written_as_an_escape(text):
    shown = escaped(f"a{text}b")
    assert shown.startswith("a\\")
    assert shown.isprintable()


def test_letters_of_all_languages_stay():
    assert escaped("Größe 大小 🦊") == "Größe 大小 🦊"


def test_line_breaks_stay_where_lines_are_wanted():
    assert escaped("a\nb\tc", lines=True) == "a\nb\\tc"
    assert escaped("a\nb") == "a\\nb"


@given(st.text())
def test_json_made_printable_reads_back_as_it_was(text):
    shown = escaped_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(shown) == [text]
    assert escaped(shown) == shown


@pytest.fixture
def logging_as_it_was():
    root, kit = logging.getLogger(), logging.getLogger("cim_domain")
    handlers, level, kit_level = root.handlers[:], root.level, kit.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    kit.setLevel(kit_level)


@pytest.mark.usefixtures("logging_as_it_was")
def test_nothing_that_clients_send_starts_a_line_of_the_log(capsys):
    configure_logging("info")
    logger = logging.getLogger("cim_domain.test")
    logger.info("refused: %s", "x\n2026-01-01T00:00:00Z INFO cim_domain forged\x1b[2J")
    logger.debug("not at this level")
    try:
        int("first\x1b\nsecond")
    except ValueError:
        logger.exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert "\\nZ" not in lines[0]
    assert lines[0].endswith("x\\n2026-01-01T00:00:00Z INFO cim_domain forged\\x1b[2J")
    assert " ERROR cim_domain.test failed" in lines[1]
    assert lines[2].startswith("Traceback")
    assert not any("\x1b" in line for line in lines)
