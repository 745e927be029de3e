"""Reading which aggregate is meant: by its id, or by its key."""

import orjson

from cim_domain.cli.exit_codes import usage
from cim_domain.identity import aggregate_id, canonical_id


def read_id(domain: str, organization_id: str | None, aggregate: str, text: str) -> str:
    """The aggregate's id: `text` itself, or that of the key it is.

    A key of several parts is a JSON array. Ends the command over one that is none.
    """
    try:
        return canonical_id(text)
    except ValueError:
        return aggregate_id(domain, organization_id, aggregate, _key(text))


def _key(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        usage(f"the key {text!r} is no JSON array: {error}")
    if not all(isinstance(part, str) for part in key):
        usage(f"the parts of the key {text!r} must be text")
    return list(key)
