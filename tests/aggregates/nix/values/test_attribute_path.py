"""Attribute paths: what is accepted, printing, and how they stand on a command line."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aggregates.nix.values import AttributePath, AttributePathParts, Segment
from aggregates.nix.values import parse_attribute_path as parse

ADAPTER = TypeAdapter(AttributePath)

ACCEPTED = {
    "hello": ("hello",),
    "packages.x86_64-linux.default": ("packages", "x86_64-linux", "default"),
    '"a.b"."c d"': ("a.b", "c d"),
    'packages."x86_64-linux".hello': ("packages", "x86_64-linux", "hello"),
    "_a.b'.c-": ("_a", "b'", "c-"),
    "0.12.a": ("0", "12", "a"),
    '"ü🚀"': ("ü🚀",),
    '"--help"': ("--help",),
    '"${x}\\n#^"': ("${x}\\n#^",),
}

REFUSED = [
    "",
    ".",
    ".x",
    "x.",
    "nested..x",
    "-x",
    "--help",
    "a.-b",
    "1a",
    "a b",
    "hello^out",
    "ü",
    "a#b",
    "a/b",
    '""',
    'a.""',
    '"a',
    'a"b"',
    '"a"b',
    '"a"b"',
    "hello\n",
    '"a\nb"',
    '"a\x00b"',
    '"\ud800"',
    "a" * 1025,
]


@pytest.mark.parametrize(("text", "names"), ACCEPTED.items())
def test_an_attribute_path_is_accepted_and_keeps_its_spelling(text: str, names: tuple[str, ...]):
    assert ADAPTER.validate_json(ADAPTER.dump_json(text), strict=True) == text
    assert parse(text).names == names
    assert str(parse(text)) == text


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_attribute_path_is_refused(text: str):
    with pytest.raises(ValueError, match=r"attribute path|control character|longer than 1024"):
        parse(text)
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(text)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("packages.x86_64-linux.default", "packages.x86_64-linux.default"),
        ('"a.b"."c d"', "%22a.b%22.%22c%20d%22"),
        ('"ü"', "%22%C3%BC%22"),
        ('"^#%?&/"', "%22%5E%23%25%3F%26%2F%22"),
    ],
)
def test_a_fragment_is_percent_encoded(text: str, fragment: str):
    assert parse(text).fragment() == fragment


def test_a_path_made_of_names_quotes_those_that_need_it():
    path = AttributePathParts.of("nixosConfigurations", "web.example.org", "config", "1", "1a")
    assert str(path) == 'nixosConfigurations."web.example.org".config.1."1a"'


@pytest.mark.parametrize("names", [(), ("",), ('a"b',), ('a"."b',), ("a\nb",), ("a" * 1100,)])
def test_names_that_cannot_be_written_are_refused(names: tuple[str, ...]):
    with pytest.raises(ValueError, match=r"attribute path|control character|longer|segment"):
        AttributePathParts.of(*names)


def test_a_segment_that_needs_quotes_must_have_them():
    with pytest.raises(ValueError, match="needs quotes"):
        AttributePathParts((Segment("a.b"),))


plain = st.from_regex("[A-Za-z_][A-Za-z0-9_'-]{0,20}|[0-9]{1,9}", fullmatch=True)
quoted = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters='"'),
    min_size=1,
    max_size=20,
).map('"{}"'.format)
paths = st.lists(st.one_of(plain, quoted), min_size=1, max_size=8).map(".".join)


@given(paths)
def test_printing_gives_back_what_was_parsed(text: str):
    parts = parse(text)
    assert str(parts) == text
    assert AttributePathParts(parts.segments) == parts
    assert ADAPTER.validate_python(text) == text


@given(paths)
def test_a_fragment_is_safe_ascii_and_decodes_to_the_path(text: str):
    fragment = parse(text).fragment()
    assert fragment.isascii()
    assert not set(fragment) & set("\"'^#?& /\\$")
    assert unquote(fragment) == text


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4))
def test_a_path_made_of_names_has_these_names(names: list[str]):
    try:
        path = AttributePathParts.of(*names)
    except ValueError:
        return
    assert parse(str(path)).names == tuple(names)
