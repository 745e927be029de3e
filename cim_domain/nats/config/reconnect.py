"""How a lost connection is taken up again."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cim_domain.backoff import Backoff


class Reconnect(Backoff):
    """How a lost connection is taken up again."""

    attempts: Annotated[int, Field(ge=-1)] = -1
    """How often a server is tried again before the connection is closed for good; -1: for ever."""

    @model_validator(mode="after")
    def _check_attempts(self) -> Self:
        if self.attempts == 0:
            raise ValueError("attempts is 0; use -1 to try for ever, or at least 1")
        return self
