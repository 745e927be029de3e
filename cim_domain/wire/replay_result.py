"""What came of a dead letter that was replayed: the answer of the service."""

from typing import Any, Literal, Self

import orjson
from attrs import frozen
from pydantic import BaseModel, ValidationError

from cim_domain.wire.error_replies import bad_reply

Result = Literal["handled", "handled_before", "rejected", "conflict"]


@frozen(kw_only=True)
class Replayed:
    """What came of a letter that is settled, and gone now.

    `handled`: its consumer has handled it. `handled_before`: nothing was left to do. `rejected` and
    `conflict`: it is a command, and that is the domain's last word on it, which `message` words.
    """

    consumer: str
    sequence: int
    result: Result
    message: str = ""

    def to_wire(self) -> bytes:
        """The answer as JSON."""
        return orjson.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The answer."""
        return {
            "consumer": self.consumer,
            "sequence": self.sequence,
            "result": self.result,
            "message": self.message,
        }

    @classmethod
    def from_wire(cls, data: bytes) -> Self:
        """What `to_wire` wrote. Raises `Failed` (``bad_reply``) for anything else."""
        try:
            read = _Wire.model_validate_json(data)
        except ValidationError:
            raise bad_reply("its reply does not say what came of a dead letter") from None
        return cls(**dict(read))


class _Wire(BaseModel):
    consumer: str
    sequence: int
    result: Result
    message: str
