"""Reading which aggregate is meant: by its id, or by its key."""

from collections.abc import Sequence

import orjson

from cim_domain.cli.exit_codes import usage
from cim_domain.identity import aggregate_id, canonical_id
from cim_domain.model.aggregate import AggregateModel


def read_id(
    domain: str,
    organization_id: str | None,
    aggregate: str,
    text: str,
    model: AggregateModel | None = None,
) -> str:
    """The aggregate's id: `text` itself, or that of the key it is.

    A key of several parts is a JSON array, and so is one that could be taken for an id. With the
    `model` at hand it may be in any form that the key's type has. Ends the command over none.
    """
    try:
        return canonical_id(text)
    except ValueError:
        return aggregate_id(domain, organization_id, aggregate, _key(text, model))


def _key(text: str, model: AggregateModel | None) -> Sequence[str]:
    parts = _parts(text)
    if model is None:
        return parts
    try:
        return model.key_from(parts)
    except ValueError as error:
        usage(f"the key {text!r} is none of a {model.name}: {error}")


def _parts(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        usage(f"the key {text!r} is no JSON array: {error}")
    if not all(isinstance(part, str) for part in key):
        usage(f"the parts of the key {text!r} must be text")
    return list(key)
