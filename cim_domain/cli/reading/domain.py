"""Reading which domain is meant: by its name, ``nix``, or by where it stands in code."""

import os
from typing import TYPE_CHECKING

from cim_domain.cli.places import find_code_in
from cim_domain.errors import LoadError, ModelError
from cim_domain.model.subjects import require_name

if TYPE_CHECKING:
    from cim_domain.model.domain import Domain


def read_domain(text: str) -> "Domain":
    """The domain, with the working directory among the places where its code may be.

    Raises `ModelError`; `LoadError` where there is none.
    """
    if ":" not in text:
        _require_name(text)
    find_code_in(os.getcwd())  # noqa: PTH109 - a string is what goes there
    # Here, because most commands need a domain's name alone.
    from cim_domain.model.domain import Domain  # noqa: PLC0415

    return Domain.load(text)


def read_domain_name(text: str) -> str:
    """The domain's name. Its code is loaded only where `text` says where that stands."""
    return name_and_code(text)[0]


def name_and_code(text: str) -> "tuple[str, Domain | None]":
    """The domain's name, and the domain itself where its code had to be loaded for that."""
    if ":" in text:
        domain = read_domain(text)
        return domain.name, domain
    _require_name(text)
    return text, None


def _require_name(text: str) -> None:
    try:
        require_name(text, "domain")
    except ModelError as error:
        raise LoadError(
            f"{error}; a domain anywhere in code is MODULE:ATTRIBUTE, such as"
            " acme.inventory.domain:inventory",
            code="invalid_name",
        ) from None
