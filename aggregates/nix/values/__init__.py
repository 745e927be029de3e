"""The values that the messages of the nix domain are made of, checked where they enter.

Each is a pydantic field type. In Python and in JSON it is a plain string (or number), so that a
message costs no more than its text; whoever needs the parts calls `parse_flake_ref`,
`parse_attribute_path` or `parse_store_path`. A bad value is a `ValidationError` at the field's
path; the parse functions raise the same sentence as a `ValueError`.

No value that reaches a command line can begin with ``-`` or hold a control character: all of them
but `SafeText`, `Description` and `LogTail`.
"""

from aggregates.nix.values.attribute_path import (
    AttributePath,
    AttributePathParts,
    Segment,
    parse_attribute_path,
)
from aggregates.nix.values.cache_url import CacheUrl
from aggregates.nix.values.choices import ActivationType, FlakeTemplate
from aggregates.nix.values.flake_ref import (
    FlakeKind,
    FlakeRef,
    FlakeReference,
    InputUrl,
    Installable,
    parse_flake_ref,
)
from aggregates.nix.values.hostname import Hostname
from aggregates.nix.values.measures import ByteCount, Generation, Seconds
from aggregates.nix.values.names import ConfigName, InputName, ModuleName, OutputName, OverlayName
from aggregates.nix.values.paths import FlakePath
from aggregates.nix.values.store_path import DrvPath, StorePath, StorePathParts, parse_store_path
from aggregates.nix.values.system import SYSTEMS, System
from aggregates.nix.values.text import Description, LogTail, SafeText

__all__ = [
    "SYSTEMS",
    "ActivationType",
    "AttributePath",
    "AttributePathParts",
    "ByteCount",
    "CacheUrl",
    "ConfigName",
    "Description",
    "DrvPath",
    "FlakeKind",
    "FlakePath",
    "FlakeRef",
    "FlakeReference",
    "FlakeTemplate",
    "Generation",
    "Hostname",
    "InputName",
    "InputUrl",
    "Installable",
    "LogTail",
    "ModuleName",
    "OutputName",
    "OverlayName",
    "SafeText",
    "Seconds",
    "Segment",
    "StorePath",
    "StorePathParts",
    "System",
    "parse_attribute_path",
    "parse_flake_ref",
    "parse_store_path",
]
