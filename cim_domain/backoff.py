"""How long to wait before the next attempt: longer each time, up to a ceiling, never in step."""

import math
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Backoff(BaseModel):
    """How the delays between attempts grow.

    With the defaults they are 0.2, 0.4, 0.8 … 10 seconds, each shortened by up to a fifth.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    first_delay: Annotated[float, Field(gt=0, le=3600)] = 0.2
    """Seconds before the first attempt."""
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    """What each delay is multiplied by to give the next."""
    ceiling: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds that no delay exceeds."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The part of each delay that is left to chance, so that clients do not come back in step."""

    @model_validator(mode="after")
    def _check_ceiling(self) -> Self:
        if self.ceiling < self.first_delay:
            raise ValueError("the ceiling is below first_delay; raise the one or lower the other")
        return self

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds before attempt number `attempt`, counted from 0; `draw` is chance, in 0..1."""
        longest = self.ceiling
        # Compared as logarithms, because factor ** attempt overflows once a server is long away.
        growth = attempt * math.log(self.factor)
        if growth < math.log(self.ceiling / self.first_delay):
            longest = min(self.ceiling, self.first_delay * self.factor**attempt)
        return longest * (1 - self.jitter * draw)
