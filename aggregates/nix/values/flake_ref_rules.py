"""What each kind of flake reference may hold, as tried against Nix 2.8 and 2.26.

Where they differ, or pass a value on to git that git could take for an option, it is refused.
"""

import re

from aggregates.nix.values.attribute_path import parse_attribute_path
from aggregates.nix.values.hostname import is_host
from aggregates.nix.values.paths import check_path
from aggregates.nix.values.refusal import refused
from aggregates.nix.values.url import (
    check_local_path,
    check_remote,
    percent_decoded,
    refuse_malformed_parameter,
)

KIND = "flake_ref"
GIT_SCHEMES = ("git+https", "git+http", "git+ssh", "git+file", "git")
FORGE_SCHEMES = ("github", "gitlab", "sourcehut")
MAX_REF_CHARACTERS = 255

_PARAMETERS = (
    {
        "": frozenset[str](),
        "flake": frozenset({"dir"}),
        "path": frozenset({"narHash", "lastModified"}),
        "https": frozenset({"dir", "narHash"}),
    }
    | dict.fromkeys(FORGE_SCHEMES, frozenset({"ref", "rev", "dir", "host", "narHash"}))
    | dict.fromkeys(
        GIT_SCHEMES, frozenset({"ref", "rev", "dir", "submodules", "shallow", "allRefs"})
    )
)
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_OWNER = {
    "github": re.compile(_NAME),
    "gitlab": re.compile(rf"{_NAME}(?:%2[Ff]{_NAME})*"),
    "sourcehut": re.compile(f"~{_NAME}"),
}
_REPO = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")
_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,254}")
_REV = re.compile(r"[0-9a-f]{40}")
_REF = re.compile(r"(?!@\Z)[A-Za-z0-9@][A-Za-z0-9_./@+-]*")
_NO_REF = re.compile(r"\.\.|//|/\.|/\Z|\.\Z|\.lock(?:/|\Z)")
_DIR = re.compile(r"(?!-)(?!\.\.?(?:/|\Z))[^/?#]+(?:/(?!\.\.?(?:/|\Z))[^/?#]+)*")
_VALUES = {
    "submodules": re.compile("[01]"),
    "shallow": re.compile("[01]"),
    "allRefs": re.compile("[01]"),
    "narHash": re.compile(r"sha256-[A-Za-z0-9+/]{43}="),
    "lastModified": re.compile("[0-9]{1,19}"),
    "rev": _REV,
    "dir": _DIR,
}


def check_location(scheme: str, location: str) -> None:
    """Refuse what stands between scheme and query if it does not fit the scheme."""
    if scheme in FORGE_SCHEMES:
        _check_forge(scheme, location)
    elif scheme == "path":
        _check_path_url(location)
    elif scheme == "git+file":
        if not location.startswith("///"):
            raise refused(KIND, "has a host or no absolute path; expected git+file:///directory")
        check_local_path(KIND, location[2:])
    elif scheme in GIT_SCHEMES:
        if check_remote(KIND, location, user_allowed=scheme == "git+ssh") in ("", "/"):
            raise refused(KIND, "has no path after its host; expected the path of a repository")
    elif scheme == "https":
        check_remote(KIND, location)
        if not location.endswith(_ARCHIVES):
            raise refused(
                KIND,
                f"is no archive; expected a path that ends in {', '.join(_ARCHIVES)}, or for a "
                "repository git+https:",
            )
    elif not scheme and location.startswith("/"):
        check_path(location, KIND)
    else:
        _check_indirect(location)


def check_parameters(scheme: str, location: str, parameters: tuple[tuple[str, str], ...]) -> None:
    """Refuse a parameter that the scheme does not have, twice, or with a value it cannot have."""
    allowed = _PARAMETERS[scheme]
    names = [name for name, _ in parameters]
    for name, value in parameters:
        refuse_malformed_parameter(KIND, name, value)
        if name not in allowed:
            expected = ", ".join(sorted(allowed)) or "none"
            raise refused(KIND, f"has the parameter {name[:50]!r}; allowed here: {expected}")
        if names.count(name) > 1:
            raise refused(KIND, f"has the parameter {name!r} twice")
        _check_value(name, percent_decoded(KIND, value))
    if scheme in FORGE_SCHEMES:
        given = (location.count("/") > 1) + ("ref" in names) + ("rev" in names)
        if given > 1:
            raise refused(KIND, "has more than one of ref and rev; expected one of them, once")


def check_fragment(fragment: str) -> None:
    """Refuse what is not an attribute path, percent-encoded or not."""
    if "#" in fragment:
        raise refused(KIND, "has a second '#'")
    parse_attribute_path(percent_decoded(KIND, fragment))


def ref_in(scheme: str, location: str) -> str | None:
    """The branch or tag that stands in the location itself."""
    version = _version_in(scheme, location)
    return version[0] if version and not _REV.fullmatch(version[0]) else None


def rev_in(scheme: str, location: str) -> str | None:
    """The commit that stands in the location itself."""
    version = _version_in(scheme, location)
    return version[-1] if version and _REV.fullmatch(version[-1]) else None


def _version_in(scheme: str, location: str) -> list[str]:
    if scheme in FORGE_SCHEMES:
        return location.split("/", 2)[2:]
    if scheme == "flake" or (not scheme and not location.startswith("/")):
        return location.split("/")[1:]
    return []


def _check_forge(scheme: str, location: str) -> None:
    owner, _, rest = location.partition("/")
    repo, slash, ref = rest.partition("/")
    if not _OWNER[scheme].fullmatch(owner) or not _REPO.fullmatch(repo):
        example = "~owner" if scheme == "sourcehut" else "owner"
        raise refused(KIND, f"has no valid owner and repository; expected {scheme}:{example}/repo")
    if slash:
        _check_ref(ref)


def _check_path_url(location: str) -> None:
    if location.startswith("//"):
        raise refused(KIND, "has a host; expected path: and one '/', such as path:/srv/web")
    if location.startswith("./"):
        check_local_path(KIND, location[1:])
    elif location.startswith("/"):
        check_local_path(KIND, location)
    else:
        raise refused(KIND, "is relative; expected an absolute path such as path:/srv/web")


def _check_indirect(location: str) -> None:
    flake_id, *version = location.split("/")
    if not _ID.fullmatch(flake_id) or len(version) > 2:
        raise refused(
            KIND,
            "is not a flake reference; expected for example github:owner/repo, "
            "git+https://host/path, path:/directory, /directory or nixpkgs/nixos-24.05",
        )
    for ref in version:
        _check_ref(ref)
    if len(version) == 2 and not _REV.fullmatch(version[1]):
        raise refused(KIND, "has no commit after its branch; expected id/ref/rev")


def _check_ref(ref: str) -> None:
    if len(ref) > MAX_REF_CHARACTERS or not _REF.fullmatch(ref) or _NO_REF.search(ref):
        raise refused(
            KIND,
            f"has no valid branch or tag; expected at most {MAX_REF_CHARACTERS} letters, digits or "
            "'_', '.', '/', '@', '+', '-' that begin with a letter, digit or '@', without '..', "
            "'//', '/.', '.lock', and not ending in '/' or '.'",
        )


def _check_value(name: str, value: str) -> None:
    if name == "ref":
        _check_ref(value)
    elif name == "host":
        if not is_host(value):
            raise refused(KIND, "has no valid parameter 'host'; expected a host name")
    elif not _VALUES[name].fullmatch(value):
        raise refused(KIND, f"has no valid parameter {name!r}; expected {_EXPECTED[name]}")


_EXPECTED = {
    "submodules": "0 or 1",
    "shallow": "0 or 1",
    "allRefs": "0 or 1",
    "narHash": "sha256- and 44 characters of base 64",
    "lastModified": "seconds since 1970",
    "rev": "40 hexadecimal digits in lower case",
    "dir": "a relative path without '.' and '..' segments",
}
