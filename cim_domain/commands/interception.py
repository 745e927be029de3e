"""Interceptors around what carries out commands, whoever sent them: see `cim_domain.model`."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cim_domain.commands.decisions import CommandRequest
from cim_domain.errors import RequestError
from cim_domain.model.interception import Interceptor, intercepted
from cim_domain.wire.outcome import Outcome

Execute = Callable[[CommandRequest], Coroutine[Any, Any, Outcome]]


def intercepting(execute: Execute, interceptors: Sequence[Interceptor], patience: float) -> Execute:
    """Carry out commands with these interceptors around it, each for `patience` seconds."""
    if not interceptors:
        return execute

    async def execute_intercepted(request: CommandRequest) -> Outcome:
        try:
            return await intercepted(
                interceptors,
                request.command,
                request.metadata,
                lambda: execute(request),
                lambda outcome: outcome.error,
                stands=True,
                patience=patience,
            )
        except RequestError as error:
            return Outcome.refused(error, request.metadata)

    return execute_intercepted
