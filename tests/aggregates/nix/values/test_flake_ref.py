"""Flake references: what is accepted, what is refused, and that they print what they parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aggregates.nix.values import FlakeKind, FlakeRef, FlakeReference, InputUrl, Installable
from aggregates.nix.values import parse_flake_ref as parse

REV = "0123456789abcdef0123456789abcdef01234567"
NAR_HASH = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

FLAKE_REF = TypeAdapter(FlakeRef)
INSTALLABLE = TypeAdapter(Installable)
INPUT_URL = TypeAdapter(InputUrl)

ACCEPTED = {
    "github:NixOS/nixpkgs": FlakeKind.GITHUB,
    "github:NixOS/nixpkgs/nixos-24.05": FlakeKind.GITHUB,
    f"github:NixOS/nixpkgs/{REV}": FlakeKind.GITHUB,
    "github:o/r/feature/x": FlakeKind.GITHUB,
    "github:o/.dotfiles": FlakeKind.GITHUB,
    "github:o/r?ref=main": FlakeKind.GITHUB,
    "github:o/r?ref=feature%2Fx&dir=sub": FlakeKind.GITHUB,
    f"github:o/r?rev={REV}": FlakeKind.GITHUB,
    "github:o/r?dir=a/b&host=github.example.org": FlakeKind.GITHUB,
    f"github:o/r/{REV}?narHash={NAR_HASH}": FlakeKind.GITHUB,
    "gitlab:group%2Fsubgroup/r": FlakeKind.GITLAB,
    "gitlab:o/r/main": FlakeKind.GITLAB,
    "sourcehut:~o/r": FlakeKind.SOURCEHUT,
    "git+https://example.org/o/r": FlakeKind.GIT,
    f"git+https://example.org/o/r?ref=refs/heads/main&rev={REV}&dir=sub": FlakeKind.GIT,
    "git+https://example.org/r.git?submodules=1&shallow=1": FlakeKind.GIT,
    "git+http://127.0.0.1:8080/r": FlakeKind.GIT,
    "git+https://[::1]:8443/r": FlakeKind.GIT,
    "git+ssh://git@example.org/o/r": FlakeKind.GIT,
    "git+ssh://example.org:2222/o/r.git": FlakeKind.GIT,
    "git+file:///srv/web": FlakeKind.GIT,
    "git+file:///srv/web?ref=HEAD": FlakeKind.GIT,
    "git://example.org/r": FlakeKind.GIT,
    "git://example.org/r?ref=main": FlakeKind.GIT,
    "https://example.org/a.tar": FlakeKind.TARBALL,
    "https://example.org/a.tar.gz?dir=x": FlakeKind.TARBALL,
    "https://example.org/a%20b@1.tgz": FlakeKind.TARBALL,
    f"https://example.org/a.tar.xz?narHash={NAR_HASH}": FlakeKind.TARBALL,
    "https://example.org/a.tar.bz2": FlakeKind.TARBALL,
    "https://example.org/a.zip": FlakeKind.TARBALL,
    "path:/srv/web": FlakeKind.PATH,
    f"path:/srv/web?narHash={NAR_HASH}&lastModified=1": FlakeKind.PATH,
    "/srv/web": FlakeKind.PATH,
    "/srv/my web/ünï/🚀:%20": FlakeKind.PATH,
    "nixpkgs": FlakeKind.INDIRECT,
    "nixpkgs/nixos-24.05": FlakeKind.INDIRECT,
    f"nixpkgs/{REV}": FlakeKind.INDIRECT,
    f"nixpkgs/nixos-24.05/{REV}": FlakeKind.INDIRECT,
    "flake:nixpkgs": FlakeKind.INDIRECT,
    "flake:nixpkgs/nixos-24.05?dir=lib": FlakeKind.INDIRECT,
}

REFUSED = {
    "": "is empty",
    "-x": "begins with '-'",
    "--impure": "begins with '-'",
    "nixpkgs\n": "control character U\\+000A",
    "github:o/r\x00": "control character U\\+0000",
    "github:o/r\x1b[0m": "control character",
    "/srv/\ud800": "control character U\\+D800",
    "a" * 4097: "longer than 4096",
    "/" + "a" * 5000: "longer than 4096",
    ":": "begins with ':'",
    ".": "is not a flake reference",
    "./web": "is not a flake reference",
    "~/web": "is not a flake reference",
    "git@example.org:o/r": "unknown scheme",
    "GITHUB:o/r": "unknown scheme",
    "git+git://example.org/r": "unknown scheme",
    "tarball+https://example.org/a.tar.gz": "unknown scheme",
    "file+https://example.org/a": "unknown scheme",
    "file:///srv/web": "unknown scheme",
    "http://example.org/a.tar.gz": "unknown scheme",
    "javascript:alert(1)": "unknown scheme",
    # forges
    "github:": "owner and repository",
    "github:o": "owner and repository",
    "github:o/": "owner and repository",
    "github:/r": "owner and repository",
    "github:o/..": "owner and repository",
    "github:-o/r": "owner and repository",
    "github:o/-r": "owner and repository",
    "github:o%2Fs/r": "owner and repository",
    "github://o/r": "owner and repository",
    "github:u:p@o/r": "owner and repository",
    "sourcehut:o/r": "expected sourcehut:~owner/repo",
    "gitlab:a%2F../r": "owner and repository",
    "github:o/r/": "branch or tag",
    "github:o/r/-x": "branch or tag",
    "github:o/r/a..b": "branch or tag",
    "github:o/r/a//b": "branch or tag",
    "github:o/r/a/.b": "branch or tag",
    "github:o/r/a.": "branch or tag",
    "github:o/r/a.lock": "branch or tag",
    "github:o/r/a.lock/b": "branch or tag",
    "github:o/r/@{1}": "branch or tag",
    "github:o/r/@": "branch or tag",
    "github:o/r/" + "a" * 256: "at most 255",
    "github:o/r/main?ref=dev": "more than one of ref and rev",
    f"github:o/r/main?rev={REV}": "more than one of ref and rev",
    f"github:o/r?ref=main&rev={REV}": "more than one of ref and rev",
    "github:o/r?ref=a&ref=b": "'ref' twice",
    "github:o/r?host=-x": "'host'",
    "github:o/r?host=u:p@h": "'host'",
    "github:o/r?submodules=1": "parameter 'submodules'; allowed here: dir, host",
    # git
    "git+https://example.org/r?ref=--upload-pack=x": "branch or tag",
    "git+https://example.org/r?ref=%2D-upload-pack=x": "branch or tag",
    "git+https://example.org/r?rev=main": "40 hexadecimal",
    f"git+https://example.org/r?rev={REV.upper()}": "40 hexadecimal",
    "git+https://example.org/r?dir=../x": "'dir'",
    "git+https://example.org/r?dir=/x": "'dir'",
    "git+https://example.org/r?dir=-x": "'dir'",
    "git+https://example.org/r?dir=a/%2e%2e": "'dir'",
    "git+https://example.org/r?dir=a%00": "control character",
    "git+https://example.org/r?dir=%ff": "not UTF-8",
    "git+https://example.org/r?dir=%zz": "malformed query",
    "git+https://example.org/r?submodules=yes": "0 or 1",
    "git+https://example.org/r?uploadPack=x": "parameter 'uploadPack'",
    "git+https://example.org/r?": "malformed query",
    "git+https://example.org/r?ref": "malformed query",
    "git+https://example.org/r?ref=": "malformed query",
    "git+https://example.org/r?&ref=a": "malformed query",
    "git+https://example.org": "no path",
    "git+https://": "no valid host",
    "git+https://example.org/": "no path",
    "git+https:///r": "no valid host",
    "git+https:r": "no host",
    "git+https://user:password@example.org/r": "user or password",
    "git+https://token@example.org/r": "user or password",
    "git+https://@example.org/r": "user or password",
    "git+ssh://git:password@example.org/r": "user or password",
    "git+ssh://-oProxyCommand=x@example.org/r": "user or password",
    "git+ssh://-oProxyCommand=x/r": "no valid host",
    "git+https://exa mple.org/r": "no valid host",
    "git+https://exämple.org/r": "no valid host",
    "git+https://[::1/r": "no valid host",
    "git+https://[::g]/r": "no valid host",
    "git+https://[]/r": "no valid host",
    "git+https://[fe80::1%25eth0]/r": "no valid host",
    "git+https://example.org:0/r": "no valid port",
    "git+https://example.org:65536/r": "no valid port",
    "git+https://example.org:/r": "no valid port",
    "git+https://example.org/a b": "percent-encode",
    "git+https://example.org/a%2": "percent-encode",
    "git+https://example.org/a\\b": "percent-encode",
    "git+https://example.org/a/../b": "'.' or '..' segment",
    "git+https://example.org/a/%2E%2e/b": "'.' or '..' segment",
    "git+https://example.org/a%0Ab": "control character",
    "git+file://host/srv/web": "git\\+file:///directory",
    "git+file:/srv/web": "git\\+file:///directory",
    "git+file:///srv/../etc": "'..' segment",
    "git+file:///srv/a%20b": "stands for itself",
    # archives
    "https://example.org/flake": "is no archive",
    "https://example.org/": "is no archive",
    "https://u:p@example.org/a.tar.gz": "user or password",
    "https://example.org/a.tar.gz?token=x": "parameter 'token'",
    # directories
    "path:": "is relative",
    "path:.": "is relative",
    "path:web": "is relative",
    "path:../web": "is relative",
    "path:./../web": "'..' segment",
    "path://host": "one '/'",
    "path:///srv/web": "one '/'",
    "path:/srv/web/": "expected '/srv/web'",
    "path:/srv/my web": "stands for itself",
    "path:/srv/a%20b": "stands for itself",
    "path:/srv/ü": "stands for itself",
    "path:/srv/web?dir=x": "parameter 'dir'",
    "path:/srv/web?x=y": "parameter 'x'",
    "/srv/web?dir=x": "parameter 'dir'",
    "/srv/web/": "expected '/srv/web'",
    "/srv//web": "expected '/srv/web'",
    "/srv/../etc": "'..' segment",
    "/": "root directory",
    # indirect
    "1nixpkgs": "is not a flake reference",
    "nix.pkgs": "is not a flake reference",
    "nixpkgs/": "branch or tag",
    "nixpkgs/-x": "branch or tag",
    f"nixpkgs/{REV}/main": "expected id/ref/rev",
    "nixpkgs/a/b": "expected id/ref/rev",
    f"nixpkgs/a/{REV}/c": "is not a flake reference",
    "nixpkgs?dir=x": "parameter 'dir'; allowed here: none",
    # attributes
    "nixpkgs#": "not an attribute path",
    "nixpkgs#a..b": "not an attribute path",
    "nixpkgs#hello^out": "not an attribute path",
    "nixpkgs#a#b": "second '#'",
    "nixpkgs#%ff": "not UTF-8",
    "nixpkgs#%22a%0Ab%22": "control character",
}


@pytest.mark.parametrize(("text", "kind"), ACCEPTED.items())
def test_a_reference_is_accepted_everywhere_and_keeps_its_spelling(text: str, kind: FlakeKind):
    reference = parse(text)
    assert reference.kind is kind
    assert str(reference) == text
    for adapter in (FLAKE_REF, INSTALLABLE, INPUT_URL):
        assert adapter.validate_json(adapter.dump_json(text), strict=True) == text


@pytest.mark.parametrize(("text", "reason"), REFUSED.items())
def test_what_is_no_reference_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        parse(text)
    for adapter in (FLAKE_REF, INSTALLABLE, INPUT_URL):
        with pytest.raises(ValidationError, match=reason):
            adapter.validate_python(text)


@pytest.mark.parametrize("value", [None, 1, b"nixpkgs", ["nixpkgs"], {"url": "https://u:secret@h"}])
def test_what_is_no_text_is_refused_without_being_shown(value: object):
    with pytest.raises(ValidationError, match="must be text") as raised:
        FLAKE_REF.validate_python(value)
    assert "secret" not in str(raised.value) + str(raised.value.errors())


@pytest.mark.parametrize(
    "text",
    [
        "git+https://user:s3cr3t@example.org/r",
        "git+https://s3cr3t@example.org/r",
        "git+ssh://git:s3cr3t@example.org/r",
        "https://s3cr3t@example.org/a.tar.gz",
        "https://example.org/a.tar.gz?token=s3cr3t",
        "https://example.org/s3cr3t",
        "s3cr3t@example.org:r",
        "https://user:s3cr3t@example.org/\ud800",
        "https://user:s3cr3t@example.org/" + "a" * 5000,
    ],
)
def test_no_error_shows_the_credentials_of_a_url(text: str):
    with pytest.raises(ValidationError) as raised:
        FLAKE_REF.validate_python(text)
    error = raised.value
    assert "s3cr3t" not in f"{error} {error!r} {error.errors()} {error.json()}"
    with pytest.raises(ValueError, match=r"^(has|holds|is) ") as direct:
        parse(text)
    assert "s3cr3t" not in f"{direct.value!r}"


def test_the_parts_of_a_reference_on_a_forge():
    reference = parse("gitlab:group%2Fsub/r/nixos-24.05?dir=a%20b&host=gitlab.example.org")
    assert (reference.owner, reference.repo) == ("group/sub", "r")
    assert (reference.ref, reference.rev, reference.dir) == ("nixos-24.05", None, "a b")
    assert reference.host == "gitlab.example.org"
    assert reference.path is None
    assert reference.id is None


@pytest.mark.parametrize(
    ("text", "ref", "rev"),
    [
        ("github:o/r", None, None),
        ("github:o/r/feature/x", "feature/x", None),
        (f"github:o/r/{REV}", None, REV),
        (f"github:o/r?rev={REV}", None, REV),
        (f"git+file:///srv/web?rev={REV}&ref=main", "main", REV),
        ("nixpkgs/nixos-24.05", "nixos-24.05", None),
        (f"flake:nixpkgs/{REV}", None, REV),
        (f"nixpkgs/nixos-24.05/{REV}", "nixos-24.05", REV),
        ("/srv/main", None, None),
    ],
)
def test_branch_and_commit_are_read_from_the_location_and_the_query(
    text: str, ref: str | None, rev: str | None
):
    assert (parse(text).ref, parse(text).rev) == (ref, rev)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("github:o/r", "github.com"),
        ("sourcehut:~o/r", "git.sr.ht"),
        ("git+ssh://git@example.org:2222/r", "example.org:2222"),
        ("git+https://[::1]:8443/r", "[::1]:8443"),
        ("https://example.org/a.zip", "example.org"),
        ("git+file:///srv/web", None),
        ("path:/srv/web", None),
        ("/srv/web", None),
        ("nixpkgs", None),
    ],
)
def test_the_host_that_will_be_asked_is_known(text: str, host: str | None):
    assert parse(text).host == host


@pytest.mark.parametrize("text", ["/srv/web", "path:/srv/web", "git+file:///srv/web?ref=main"])
def test_the_directory_on_this_machine_is_known(text: str):
    assert parse(text).path == "/srv/web"


def test_an_installable_may_name_an_attribute_and_the_others_may_not():
    text = "github:o/r?dir=x#packages.%22a.b%22"
    reference = parse(text)
    assert reference.attribute is not None
    assert reference.attribute.names == ("packages", "a.b")
    assert str(reference.without_attribute()) == "github:o/r?dir=x"
    assert reference.without_attribute().attribute is None
    assert INSTALLABLE.validate_python(text) == text
    for adapter in (FLAKE_REF, INPUT_URL):
        with pytest.raises(ValidationError, match="names an attribute"):
            adapter.validate_python(text)


def test_only_an_input_may_point_inside_of_its_own_flake():
    assert parse("path:./sub").is_relative
    assert INPUT_URL.validate_python("path:./sub") == "path:./sub"
    for adapter in (FLAKE_REF, INSTALLABLE):
        with pytest.raises(ValidationError, match="is relative"):
            adapter.validate_python("path:./sub")


@pytest.mark.parametrize(
    ("scheme", "location", "parameters", "fragment"),
    [
        ("ftp", "//example.org/r", (), None),
        ("", "github:o/r", (), None),
        ("", "/srv/a#b", (), None),
        ("", "/srv/a?b", (), None),
        ("github", "o/r", (("dir", "a&b"),), None),
        ("github", "o/r", (("ref", ""),), None),
        ("github", "o/r", (), ""),
        ("github", "o/r", (), "a#b"),
    ],
)
def test_a_reference_that_is_not_valid_cannot_be_made(
    scheme: str, location: str, parameters: tuple[tuple[str, str], ...], fragment: str | None
):
    with pytest.raises(ValueError, match=r"^has |^is |not an attribute path"):
        FlakeReference(scheme, location, parameters, fragment)


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
refs = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9_+-]{0,20}(/[A-Za-z0-9][A-Za-z0-9_+-]{0,9})?", fullmatch=True
)
revs = st.from_regex("[0-9a-f]{40}", fullmatch=True)
words = st.from_regex("[a-z][a-z0-9-]{0,20}", fullmatch=True)
hosts = st.from_regex(r"[a-z0-9]{1,20}(\.[a-z]{2,5}){0,2}(:[1-9][0-9]{0,3})?", fullmatch=True)
url_paths = st.from_regex(r"(/[a-z0-9~+@_-]{1,9}|/%[2-7][1-9A-D]x){1,4}", fullmatch=True)
directories = st.from_regex(r"(/[a-z0-9~+@_-]{1,9}){1,4}", fullmatch=True)
fragments = st.sampled_from(["", "#hello", "#packages.x86_64-linux.default", "#%22a.b%22.c"])
query = st.lists(
    st.one_of(refs.map("ref={}".format), revs.map("rev={}".format), words.map("dir={}/x".format)),
    unique_by=lambda parameter: parameter[:3],
).map(lambda given: f"?{'&'.join(given)}" if given else "")
references = st.one_of(
    st.builds(
        "github:{}/{}{}".format, names, words, st.one_of(st.just(""), refs.map("/{}".format))
    ),
    st.builds("sourcehut:~{}/{}?dir={}".format, names, words, words),
    st.builds(
        "git+{}://{}{}{}".format, st.sampled_from(["https", "http", "ssh"]), hosts, url_paths, query
    ),
    st.builds("git+ssh://{}@{}{}".format, words, hosts, url_paths),
    st.builds("https://{}{}{}".format, hosts, url_paths, st.sampled_from([".tar.gz", ".zip"])),
    st.builds("{}{}".format, st.sampled_from(["path:", "git+file://", ""]), directories),
    st.builds(
        "{}{}/{}/{}".format,
        st.sampled_from(["", "flake:"]),
        words,
        refs.map(lambda ref: ref.replace("/", "-")),
        revs,
    ),
)


@given(references, fragments)
def test_printing_gives_back_what_was_parsed(text: str, fragment: str):
    reference = parse(text + fragment)
    assert str(reference) == text + fragment
    assert parse(str(reference)) == reference
    assert str(reference.without_attribute()) == text


@given(st.one_of(st.text(), st.builds("{}{}".format, references, st.text(max_size=5))))
def test_any_text_is_either_kept_or_a_validation_error(text: str):
    try:
        assert INSTALLABLE.validate_python(text) == text
    except ValidationError:
        return
    assert str(parse(text)) == text
    assert not text.startswith("-")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)
