"""Names, hosts, systems, caches, text and numbers, and how they behave as fields of a message."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from aggregates.nix.values import (
    SYSTEMS,
    ActivationType,
    AttributePath,
    ByteCount,
    CacheUrl,
    ConfigName,
    Description,
    DrvPath,
    FlakePath,
    FlakeRef,
    FlakeTemplate,
    Generation,
    Hostname,
    InputName,
    InputUrl,
    Installable,
    LogTail,
    ModuleName,
    OutputName,
    OverlayName,
    SafeText,
    Seconds,
    StorePath,
    System,
)

DIGEST = "0123456789abcdfghijklmnpqrsvwxyz"

ACCEPTED: list[tuple[Any, list[Any]]] = [
    (ModuleName, ["web", "web.server", "my web", "über 🚀", "a/b", "a-", "a" * 255, "ü" * 255]),
    (InputName, ["nixpkgs", "home-manager", "a_1", "iffy", "True", "a" * 255]),
    (OutputName, ["out", "dev", "lib.so", "x-1", "a" * 211]),
    (Hostname, ["web", "web-1.example.org", "WEB", "3com", "a" * 63, ".".join(["a" * 62] * 4)]),
    (System, list(SYSTEMS)),
    (
        CacheUrl,
        [
            "file:///srv/cache",
            "https://cache.example.org",
            "https://cache.example.org/",
            "https://cache.example.org:8443/a/b",
            "s3://my-bucket",
            "s3://my-bucket/prefix",
        ],
    ),
    (SafeText, ["", "two\nlines", "tab\t", "🚀", "-x", "a" * 16_384]),
    (Description, ["", "ü" * 4_096]),
    (LogTail, ["", "\x1b[31mred\x1b[0m\r\n", "a" * 131_072]),
    (Seconds, [0.0, 0.5, 1e6]),
    (ByteCount, [0, 2**63 - 1]),
    (Generation, [1, 2**63 - 1]),
    (FlakeTemplate, list(FlakeTemplate)),
    (ActivationType, list(ActivationType)),
]

ONE_LINE = [
    "",
    "-x",
    "--help",
    "a\nb",
    "a\n",
    "a\x00",
    "\x1b[0m",
    "a\x7f",
    "a\x85",
    "a\u2028",
    "\ud800",
]

REFUSED: list[tuple[Any, list[Any]]] = [
    (ModuleName, [*ONE_LINE, "a" * 256, " ", " a", "a ", "a\u00a0", 1, None]),
    (
        InputName,
        [
            *ONE_LINE,
            "a" * 256,
            "1a",
            "_a",
            "a.b",
            "a b",
            "a'",
            "ü",
            "self",
            "let",
            "in",
            "if",
            "then",
            "else",
            "assert",
            "with",
            "rec",
            "inherit",
            "or",
        ],
    ),
    (OutputName, [*ONE_LINE, "a" * 212, ".a", "a b", "a/b", "a,b", "a^b", "ü", "*"]),
    (
        Hostname,
        [
            *ONE_LINE,
            "a-",
            "a_b",
            "a..b",
            ".a",
            "a.",
            "ü",
            "a" * 64,
            "a:1",
            "127.0.0.1",
            "::1",
            ".".join(["a" * 50] * 5),
        ],
    ),
    (System, [*ONE_LINE, "x86_64-linus", "X86_64-linux", "linux", "x86_64-linux\n", 1, None]),
    (
        CacheUrl,
        [
            *ONE_LINE,
            "/srv/cache",
            "file:/srv/cache",
            "file://host/srv",
            "file:///",
            "file:///srv/",
            "file:///srv/../x",
            "file:///srv/my cache",
            "file:///srv?compression=none",
            "file:///srv?secret-key=/etc/key",
            "http://cache.example.org",
            "https://",
            "https:///x",
            "https://u:p@cache.example.org",
            "https://cache.example.org/#x",
            "https://cache.example.org/../x",
            "https://-x/",
            "s3://",
            "s3://Bucket",
            "s3://key:secret@bucket",
            "s3://bucket/../x",
            "s3://bucket?endpoint=x",
            "ssh://host",
            "daemon",
            "local?root=/x",
            "unix:/x",
            "https://cache.example.org/" + "a" * 4096,
        ],
    ),
    (SafeText, ["a\x00", "\ud800", "a" * 16_385, 1, None]),
    (Description, ["\x00", "\ud800", "a" * 4_097]),
    (LogTail, ["\x00", "\ud800", "a" * 131_073]),
    (Seconds, [-0.1, float("nan"), float("inf"), "x", None]),
    (ByteCount, [-1, 2**63, 1.5, "1", True]),
    (Generation, [0, -1, 2**63, 1.5, "1", True]),
    (FlakeTemplate, ["", "Rust", "ruby", "rust\n", 1]),
    (ActivationType, ["", "Switch", "dry-activate", "--help"]),
]


def cases(table: list[tuple[Any, list[Any]]]) -> list[tuple[Any, Any]]:
    return [(kind, value) for kind, values in table for value in values]


@pytest.mark.parametrize(("kind", "value"), cases(ACCEPTED))
def test_a_value_is_accepted_and_survives_json(kind: Any, value: Any):
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(value) == value
    assert adapter.validate_json(adapter.dump_json(value), strict=True) == value


@pytest.mark.parametrize(("kind", "value"), cases(REFUSED))
def test_any_other_value_is_refused(kind: Any, value: Any):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (ModuleName, " web", "begins or ends with white space; expected 'web'"),
        (ModuleName, "-x", "begins with '-' and would be taken for an option"),
        (ModuleName, "", "is empty; expected 1 to 255 characters"),
        (InputName, "let", "'let' has a meaning of its own in Nix; expected another name"),
        (InputName, "a.b", "is not a Nix identifier; expected a letter, then letters, digits"),
        (CacheUrl, "file:///c?secret-key=/k", "has a query or a fragment; expected none"),
        (System, "x86_64-linus", "Input should be 'x86_64-linux', 'aarch64-linux'"),
        (SafeText, "ab\x00", "holds NUL at position 2"),
    ],
)
def test_an_error_says_what_is_wrong_and_what_is_expected(kind: Any, value: str, sentence: str):
    with pytest.raises(ValidationError, match=sentence):
        TypeAdapter(kind).validate_python(value)


def test_no_error_shows_the_credentials_of_a_cache():
    for text in ("https://u:s3cr3t@h/", "s3://key:s3cr3t@bucket", "https://h/?token=s3cr3t"):
        with pytest.raises(ValidationError) as raised:
            TypeAdapter(CacheUrl).validate_python(text)
        assert "s3cr3t" not in f"{raised.value} {raised.value.errors()} {raised.value.json()}"


class Message(BaseModel):
    path: FlakePath
    flake_ref: FlakeRef
    attribute: AttributePath
    system: System
    template: FlakeTemplate | None
    follows: dict[InputName, InputName]
    outputs: dict[OutputName, StorePath]


FIELDS = {
    "path": "/srv/my web",
    "flake_ref": "github:o/r?dir=a",
    "attribute": 'packages."a.b"',
    "system": "x86_64-linux",
    "template": "home-manager",
    "follows": {"nixpkgs": "base"},
    "outputs": {"out": f"/nix/store/{DIGEST}-hello"},
}


def test_a_message_of_values_is_plain_strings_in_json_and_comes_back_equal():
    message = Message.model_validate(FIELDS)
    assert message.model_dump(mode="json") == FIELDS
    assert Message.model_validate_json(message.model_dump_json(), strict=True) == message
    assert Message.model_json_schema()["properties"]["flake_ref"]["type"] == "string"


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"path": "web"}, ("path",)),
        ({"flake_ref": "https://u:p@h/a.zip"}, ("flake_ref",)),
        ({"attribute": ".x"}, ("attribute",)),
        ({"follows": {"nixpkgs": "-x"}}, ("follows", "nixpkgs")),
        ({"follows": {"-x": "nixpkgs"}}, ("follows", "-x", "[key]")),
        ({"outputs": {"out": "/nix/store/x"}}, ("outputs", "out")),
    ],
)
def test_an_error_stands_at_the_path_of_its_field(
    change: dict[str, Any], location: tuple[str, ...]
):
    with pytest.raises(ValidationError) as raised:
        Message.model_validate(FIELDS | change)
    assert [error["loc"] for error in raised.value.errors()] == [location]


COMMAND_LINE_VALUES: list[Any] = [
    FlakePath,
    FlakeRef,
    Installable,
    InputUrl,
    AttributePath,
    StorePath,
    DrvPath,
    System,
    InputName,
    OutputName,
    ModuleName,
    OverlayName,
    ConfigName,
    Hostname,
    CacheUrl,
]
ADAPTERS = [TypeAdapter(kind) for kind in COMMAND_LINE_VALUES]

hostile = st.one_of(
    st.text(),
    st.text(st.characters()),
    st.text('-/.:#?@%"\n\x00 aü\ud800'),
    st.builds(
        "{}{}".format,
        st.sampled_from(
            ["/srv/", "github:o/r", "git+ssh://", "https://h/", f"/nix/store/{DIGEST}-"]
        ),
        st.text('-/.:#?@%"\n\x00 aü=&', max_size=12),
    ),
)


@given(hostile)
def test_no_value_for_a_command_line_can_be_an_option_or_hold_a_control_character(text: str):
    for adapter in ADAPTERS:
        try:
            accepted = adapter.validate_python(text)
        except ValidationError:
            continue
        assert accepted == text
        assert adapter.validate_json(adapter.dump_json(accepted)) == text
        assert not text.startswith("-")
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)
