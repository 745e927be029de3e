"""The locks as they are read by pip."""

import re

from packaging.requirements import Requirement

from tests.docs.documents import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

LINE = re.compile(
    r"^(?P<requirement>[a-z0-9-]+==[^ \n]+( ; [^\\\n]+)?) "
    r"(\\\n    --hash=sha256:[0-9a-f]{64} ?)+\n",
    re.MULTILINE,
)
"""One version of one package, under a condition or always, and the digests of its files."""


def locked(name: str) -> dict[str, str]:
    """The versions of the lock `name`, for this Python and this machine."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    requirements = [Requirement(line["requirement"]) for line in LINE.finditer(text)]
    return {
        each.name: str(each.specifier).removeprefix("==")
        for each in requirements
        if each.marker is None or each.marker.evaluate()
    }
