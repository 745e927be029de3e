"""Numbers with a unit."""

from typing import Annotated

from pydantic import Field

_MAX_BIGINT = 2**63 - 1

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration, 0 or more."""

ByteCount = Annotated[int, Field(strict=True, ge=0, le=_MAX_BIGINT)]
"""A size in bytes, 0 or more."""

Generation = Annotated[int, Field(strict=True, ge=1, le=_MAX_BIGINT)]
"""The number of a configuration's generation, counted from 1."""
