"""Absolute paths have one spelling, and store paths the form Nix gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aggregates.nix.values import DrvPath, FlakePath, StorePath, parse_store_path

PATH = TypeAdapter(FlakePath)
STORE_PATH = TypeAdapter(StorePath)
DRV_PATH = TypeAdapter(DrvPath)
DIGEST = "0123456789abcdfghijklmnpqrsvwxyz"


@pytest.mark.parametrize(
    "text",
    [
        "/srv",
        "/srv/web",
        "/srv/my web",
        "/srv/.hidden/..x/...",
        "/srv/ünï/日本/👩‍🚀",
        "/srv/-x",
        "/a b%c#d?e",
        "/" + "a" * 255,
        "/" + "ü" * 127,
        ("/" + "a" * 255) * 16,
    ],
)
def test_a_path_is_accepted_as_it_is(text: str):
    assert PATH.validate_json(PATH.dump_json(text), strict=True) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not absolute"),
        ("srv/web", "is not absolute"),
        ("./web", "is not absolute"),
        ("~/web", "is not absolute"),
        ("-x", "is not absolute"),
        ("file:///srv/web", "is not absolute"),
        ("/", "root directory"),
        ("//", "root directory"),
        ("/.", "root directory"),
        ("/srv/web/", "expected '/srv/web'"),
        ("//srv/web", "expected '/srv/web'"),
        ("/srv//web", "expected '/srv/web'"),
        ("/srv/./web", "expected '/srv/web'"),
        ("/srv/../etc", "'..' segment"),
        ("/..", "'..' segment"),
        ("/srv/web\n", "U\\+000A at position 8"),
        ("/srv/\x00", "U\\+0000"),
        ("/srv/\x1b[31m", "U\\+001B"),
        ("/srv/\x7f", "U\\+007F"),
        ("/srv/\x85", "U\\+0085"),
        ("/srv/\u2028", "U\\+2028"),
        ("/srv/\ud800", "U\\+D800"),
        ("/" + "a" * 256, "255 bytes"),
        ("/" + "ü" * 128, "255 bytes"),
        (("/" + "a" * 255) * 16 + "/a", "longer than 4096 bytes"),
        (("/" + "ü" * 100) * 25, "longer than 4096 bytes"),
    ],
)
def test_any_other_path_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(ValidationError, match=reason):
        PATH.validate_python(text)


@given(st.one_of(st.text(), st.text("/.ab\n-ü").map("/{}".format)))
def test_any_text_is_either_a_canonical_path_or_a_validation_error(text: str):
    try:
        assert PATH.validate_python(text) == text
    except ValidationError:
        return
    root, *segments = text.split("/")
    assert root == ""
    assert segments
    assert not {"", ".", ".."} & set(segments)
    assert text.isprintable() or not any(ord(character) < 32 for character in text)
    assert len(text.encode()) <= 4096


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("/nix/store", "hello-2.12.1"),
        ("/tmp/private store/store", "hello"),
        ("/nix/store", "a" * 211),
        ("/nix/store", "A+b-c._?="),
        ("/nix/store", "-x"),
    ],
)
def test_a_store_path_may_be_in_any_store_directory(directory: str, name: str):
    text = f"{directory}/{DIGEST}-{name}"
    assert STORE_PATH.validate_json(STORE_PATH.dump_json(text), strict=True) == text
    parts = parse_store_path(text)
    assert (parts.directory, parts.digest, parts.name) == (directory, DIGEST, name)
    assert str(parts) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-x",
        f"{DIGEST}-hello",
        f"/{DIGEST}-hello",
        f"nix/store/{DIGEST}-hello",
        f"/nix/store/{DIGEST}",
        f"/nix/store/{DIGEST}-",
        f"/nix/store/{DIGEST}-.hello",
        f"/nix/store/{DIGEST}-hello/bin",
        f"/nix/store/{DIGEST}-hello/",
        f"/nix/store/{DIGEST}-hello\n",
        f"/nix/store/{DIGEST}-a b",
        f"/nix/store/{DIGEST}-a@b",
        f"/nix/store/{DIGEST}-a:b",
        f"/nix/store/{DIGEST}-a~b",
        f"/nix/store/{DIGEST}-ü",
        f"/nix/store/{DIGEST}-{'a' * 212}",
        f"/nix/store/{DIGEST[:-1]}-hello",
        f"/nix/store/{DIGEST}0-hello",
        *(f"/nix/store/{letter}{DIGEST[1:]}-hello" for letter in "eotuA"),
        f"/nix//store/{DIGEST}-hello",
        f"/nix/../store/{DIGEST}-hello",
        f"/nix/st\nore/{DIGEST}-hello",
        f"{'/a' * 2100}/{DIGEST}-hello",
    ],
)
def test_what_is_no_store_path_is_refused(text: str):
    with pytest.raises(ValidationError):
        STORE_PATH.validate_python(text)
    with pytest.raises(ValueError, match=r"store path|spelling|segment|control|bytes"):
        parse_store_path(text)


def test_a_derivation_is_a_store_path_that_ends_in_drv():
    text = f"/nix/store/{DIGEST}-hello.drv"
    assert DRV_PATH.validate_python(text) == text
    for other in (f"/nix/store/{DIGEST}-hello", f"/nix/store/{DIGEST}-drv", "/srv/hello.drv"):
        with pytest.raises(ValidationError):
            DRV_PATH.validate_python(other)


@given(
    st.text("0123456789abcdfghijklmnpqrsvwxyz", min_size=32, max_size=32),
    st.from_regex(r"[0-9A-Za-z+_?=-][0-9A-Za-z+._?=-]{0,210}", fullmatch=True),
)
def test_printing_a_store_path_gives_back_what_was_parsed(digest: str, name: str):
    text = f"/nix/store/{digest}-{name}"
    assert str(parse_store_path(text)) == text
