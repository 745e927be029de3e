"""References to flakes, as Nix writes them.

    github:owner/repo[/ref|/rev]   also gitlab:, sourcehut:~owner; ?ref= rev= dir= host= narHash=
    git+https://host/path          also git+http, git+ssh, git+file:///directory, git;
                                   ?ref= rev= dir= submodules= shallow= allRefs=
    https://host/path.tar.gz       an archive; ?dir= narHash=
    path:/directory                ?narHash= lastModified=
    /directory                     a bare directory, also with spaces or letters beyond ASCII
    id[/ref[/rev]]                 indirect, through a registry; also flake:id, which has ?dir=

and ``#attribute`` after any of them. `FlakeReference` is one taken apart; the rules of each kind
are in `flake_ref_rules`. What only some versions of Nix accept is refused.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Annotated

from attrs import evolve, frozen

from aggregates.nix.values import flake_ref_rules as rules
from aggregates.nix.values.attribute_path import AttributePathParts, parse_attribute_path
from aggregates.nix.values.refusal import refused, url_validator
from aggregates.nix.values.url import percent_decoded, refuse_unbounded, split_query

_KIND = rules.KIND


class FlakeKind(StrEnum):
    """Where a flake comes from, in the words of ``flake.lock``."""

    GITHUB = "github"
    GITLAB = "gitlab"
    SOURCEHUT = "sourcehut"
    GIT = "git"
    TARBALL = "tarball"
    PATH = "path"
    INDIRECT = "indirect"


_BY_SCHEME = {
    "github": FlakeKind.GITHUB,
    "gitlab": FlakeKind.GITLAB,
    "sourcehut": FlakeKind.SOURCEHUT,
    "https": FlakeKind.TARBALL,
    "path": FlakeKind.PATH,
    "flake": FlakeKind.INDIRECT,
} | dict.fromkeys(rules.GIT_SCHEMES, FlakeKind.GIT)
_FORGES = {
    FlakeKind.GITHUB: "github.com",
    FlakeKind.GITLAB: "gitlab.com",
    FlakeKind.SOURCEHUT: "git.sr.ht",
}


@frozen
class FlakeReference:
    """A flake reference taken apart; `str` prints exactly what was parsed.

    One that exists is valid: the constructor raises a `ValueError` for what is no reference.
    """

    scheme: str
    """Before the colon, such as ``git+https``; empty for a bare directory and a bare id."""
    location: str
    """Between the scheme and the query, as written."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Names and values of the query, as written, in their order."""
    fragment: str | None = None
    """The attribute after ``#``, as written."""

    def __attrs_post_init__(self) -> None:
        if self.scheme and self.scheme not in _BY_SCHEME:
            raise refused(
                _KIND, f"has an unknown scheme; expected one of {', '.join(sorted(_BY_SCHEME))}"
            )
        if any(mark in self.location for mark in "?#"):
            raise refused(_KIND, "has a '?' or '#' where its location should be")
        rules.check_location(self.scheme, self.location)
        rules.check_parameters(self.scheme, self.location, self.parameters)
        if self.fragment is not None:
            rules.check_fragment(self.fragment)

    def __str__(self) -> str:
        scheme = f"{self.scheme}:" if self.scheme else ""
        query = "&".join(f"{name}={value}" for name, value in self.parameters)
        return "".join(
            [
                scheme + self.location,
                f"?{query}" if query else "",
                f"#{self.fragment}" if self.fragment is not None else "",
            ]
        )

    @property
    def kind(self) -> FlakeKind:
        """Where the flake comes from."""
        if self.scheme:
            return _BY_SCHEME[self.scheme]
        return FlakeKind.PATH if self.location.startswith("/") else FlakeKind.INDIRECT

    @property
    def owner(self) -> str | None:
        """The owner on a forge; a group with subgroups is ``a/b``."""
        return percent_decoded(_KIND, self._segments[0]) if self.kind in _FORGES else None

    @property
    def repo(self) -> str | None:
        """The repository on a forge."""
        return self._segments[1] if self.kind in _FORGES else None

    @property
    def id(self) -> str | None:
        """The registry's name of an indirect reference."""
        return self._segments[0] if self.kind is FlakeKind.INDIRECT else None

    @property
    def host(self) -> str | None:
        """The host that is asked, with its port if one is given; none for directories and ids."""
        if self.kind in _FORGES:
            return self.parameter("host") or _FORGES[self.kind]
        if self.location.startswith("//"):
            return self.location[2:].partition("/")[0].rpartition("@")[2] or None
        return None

    @property
    def path(self) -> str | None:
        """The directory on this machine, also of ``git+file``; ``./x`` if it is relative."""
        if self.kind is FlakeKind.PATH:
            return self.location
        return self.location.removeprefix("//") if self.scheme == "git+file" else None

    @property
    def is_relative(self) -> bool:
        """Whether it is ``path:./x``, which means something only inside of a flake."""
        return self.scheme == "path" and self.location.startswith("./")

    @property
    def ref(self) -> str | None:
        """The branch or tag."""
        return self.parameter("ref") or rules.ref_in(self.scheme, self.location)

    @property
    def rev(self) -> str | None:
        """The commit, 40 hexadecimal digits."""
        return self.parameter("rev") or rules.rev_in(self.scheme, self.location)

    @property
    def dir(self) -> str | None:
        """The directory of ``flake.nix`` inside what is fetched."""
        return self.parameter("dir")

    @property
    def attribute(self) -> AttributePathParts | None:
        """The attribute after ``#``."""
        if self.fragment is None:
            return None
        return parse_attribute_path(percent_decoded(_KIND, self.fragment))

    def parameter(self, name: str) -> str | None:
        """A parameter of the query, percent-decoded."""
        value = dict(self.parameters).get(name)
        return None if value is None else percent_decoded(_KIND, value)

    def without_attribute(self) -> "FlakeReference":
        """The flake itself."""
        return evolve(self, fragment=None)

    @property
    def _segments(self) -> list[str]:
        return self.location.split("/")


def parse_flake_ref(text: str) -> FlakeReference:
    """Take a reference of at most 4096 characters apart.

    Raises a `ValueError` that says what is wrong and never shows the reference.
    """
    return _parsed(text)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> FlakeReference:
    refuse_unbounded(_KIND, text)
    url, hash_mark, fragment = text.partition("#")
    base, question_mark, query = url.partition("?")
    scheme, colon, location = base.partition(":")
    if not colon or base.startswith("/"):
        scheme, location = "", base
    elif not scheme:
        raise refused(_KIND, "begins with ':'")
    parameters = split_query(query) if question_mark else ()
    return FlakeReference(scheme, location, parameters, fragment if hash_mark else None)


def _check_installable(text: str) -> FlakeReference:
    reference = parse_flake_ref(text)
    if reference.is_relative:
        raise refused(_KIND, "is relative; expected an absolute path such as path:/srv/web")
    return reference


def _check_input_url(text: str) -> FlakeReference:
    reference = parse_flake_ref(text)
    if reference.fragment is not None:
        raise refused(_KIND, "names an attribute after '#'; expected the reference alone")
    return reference


def _check_flake_ref(text: str) -> None:
    _check_installable(text)
    _check_input_url(text)


FlakeRef = Annotated[str, url_validator(_KIND, _check_flake_ref)]
"""A flake, without ``#attribute``: messages that need one have a field for it."""

Installable = Annotated[str, url_validator(_KIND, _check_installable)]
"""A flake, with ``#attribute`` or without: what ``nix build`` takes."""

InputUrl = Annotated[str, url_validator(_KIND, _check_input_url)]
"""What a flake's input points to: as `FlakeRef`, and ``path:./x`` inside of the flake."""
