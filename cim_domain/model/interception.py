"""Interceptors: functions around the handling of commands and queries.

    @intercepts
    async def only_clerks(message: PlaceOrder, metadata: Metadata, proceed: Proceed) -> None:
        if metadata.actor_id not in CLERKS:
            raise Rejected("order.forbidden", "only clerks place orders")
        await proceed()

The first annotation says around which messages: one class, several, or all commands, `Command`. One
either raises a `RequestError`, and nothing is done, or goes on with `proceed`, once. What came of
the message is told whatever an interceptor makes of it: none can lose it, or answer in its place.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, Generic, TypeVar, get_type_hints

from attrs import define, field, frozen

from cim_domain.errors import Failed, ModelError, RequestError
from cim_domain.model.failures import awaited_model_code, cause
from cim_domain.model.fields.types import parts
from cim_domain.model.messages import Command, Message, Query
from cim_domain.model.metadata import Metadata
from cim_domain.model.mistakes import Mistakes
from cim_domain.model.source_location import where

logger = logging.getLogger("cim_domain.interceptors")

_MARK = "__cim_intercepts__"

T = TypeVar("T")


@frozen
class Handled:
    """What came of a message: `error` is what it was refused with, or failed with; None: done."""

    error: RequestError | None = None


Proceed = Callable[[], Awaitable[Handled]]
"""Have the message handled: by the interceptors behind this one, and in the end by its method."""

Intercepts = TypeVar("Intercepts", bound=Callable[[Any, Metadata, Proceed], Awaitable[None]])


def intercepts(function: Intercepts) -> Intercepts:
    """Mark an interceptor: a domain that is found by its name has those in its modules."""
    setattr(function, _MARK, True)
    return function


def interceptors_in(modules: Iterable[ModuleType]) -> list[Callable[..., Any]]:
    """The marked functions that modules define, in their order there."""
    found = [
        value
        for module in modules
        for value in tuple(vars(module).values())
        if getattr(value, _MARK, False) is True
        and getattr(value, "__module__", None) == module.__name__
    ]
    return list(dict.fromkeys(found))


@frozen
class Interceptor:
    """An interceptor, read and checked: around which messages it is called."""

    name: str
    messages: tuple[type[Message], ...]
    call: Callable[[Any, Metadata, Proceed], Awaitable[None]]


def examine_interceptor(function: object, mistakes: Mistakes) -> Interceptor | None:
    """What can be read of an interceptor; its mistakes are taken in, and then there is None."""
    found: list[Interceptor] = []
    with mistakes.gathered():
        found.append(_interceptor(function))
    return found[0] if found else None


def _interceptor(function: Any) -> Interceptor:
    if not callable(function) or isinstance(function, type):
        raise ModelError(f"interceptors: {function!r:.100} is no function")
    plain = inspect.unwrap(function)
    code = plain if inspect.isroutine(plain) else type(plain).__call__
    name = getattr(code, "__qualname__", repr(code))
    place = f"{where(code)}, an interceptor"
    if not inspect.iscoroutinefunction(code):
        raise ModelError(f"{place}: it must be async")
    try:
        hints = get_type_hints(code)
    except Exception as error:  # an annotation is an expression: it may raise anything
        raise ModelError(f"{place}: cannot read the annotations: {error}") from error
    given = list(inspect.signature(function).parameters)
    annotations = [hints.get(parameter) for parameter in given]
    if len(given) != 3 or annotations[1] is not Metadata or annotations[2] != Proceed:
        raise ModelError(
            f"{place}: expected the parameters (message: Command, metadata: Metadata,"
            " proceed: Proceed), the first with the classes that it is for"
        )
    messages = tuple(parts(annotations[0]))
    for one in messages:
        if one is not Message and not (isinstance(one, type) and issubclass(one, Command | Query)):
            raise ModelError(f"{place}: {one!r:.100} is no class of commands or queries")
    return Interceptor(name, messages, function)


def check_interceptors(
    interceptors: Sequence[Interceptor], known: Iterable[type[Message]], mistakes: Mistakes
) -> None:
    """Take in as a mistake a class to intercept that is none of `known`, nor a base of one."""
    classes = tuple(known)
    for interceptor in interceptors:
        for message in interceptor.messages:
            if message.message_type and not any(issubclass(one, message) for one in classes):
                mistakes.add(
                    f"{where(interceptor.call)}, an interceptor: {where(message)} is no command or"
                    " query of this domain"
                )


async def intercepted(
    interceptors: Sequence[Interceptor],
    message: Message,
    metadata: Metadata,
    handle: Callable[[], Awaitable[T]],
    error_of: Callable[[T], RequestError | None],
    *,
    stands: bool,
    patience: float | None = None,
) -> T:
    """What `handle` gives for the message, with the interceptors around it, the first outermost.

    `error_of` says with which error it ended all the same. Where what was done `stands`, it is told
    whatever an interceptor raises afterwards. Each may take `patience` seconds before it goes on,
    and as many after. Raises what an interceptor refuses the message with, and what `handle` does.
    """
    around = [one for one in interceptors if isinstance(message, one.messages)]

    async def step(number: int) -> T:
        if number == len(around):
            return await handle()
        return await _Passage(
            around[number],
            message,
            metadata,
            lambda: step(number + 1),
            error_of,
            stands,
            patience,
        ).run()

    return await step(0)


@define(eq=False)
class _Passage(Generic[T]):
    """A message on its way through one interceptor."""

    _interceptor: Interceptor
    _message: Message
    _metadata: Metadata
    _next: Callable[[], Awaitable[T]]
    _error_of: Callable[[T], RequestError | None]
    _stands: bool
    _patience: float | None
    _handling: asyncio.Task[T] | None = field(default=None, init=False)
    _limit: asyncio.Timeout = field(init=False)
    _ended: bool = field(default=False, init=False)

    async def run(self) -> T:
        self._limit = asyncio.timeout(self._patience)
        failure: Exception | None = None
        try:
            async with self._limit:
                with awaited_model_code:
                    await self._interceptor.call(self._message, self._metadata, self._proceed)
        except asyncio.CancelledError:
            if self._handling is not None:
                self._handling.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - an interceptor is the model's code
            failure = error
        finally:
            self._ended = True
        if self._handling is None:
            raise self._refusal(failure)
        result = await self._handling
        if failure is not None:
            if not self._stands:
                raise self._refusal(failure)
            logger.error(
                "the interceptor %s failed after %s was done, which stands",
                self._interceptor.name,
                self._message.message_type,
                exc_info=failure,
            )
        return result

    async def _proceed(self) -> Handled:
        if self._handling is None:
            if self._ended:
                raise RuntimeError("the interceptor has ended: it is too late to go on")
            self._limit.reschedule(None)
            self._handling = asyncio.ensure_future(self._begun())
        # Whoever stops waiting, with a time limit of his own, does not stop what is done.
        try:
            return Handled(self._error_of(await asyncio.shield(self._handling)))
        except RequestError as error:
            return Handled(error)
        except Exception as error:  # noqa: BLE001 - what is handled is the model's code, too
            return Handled(Failed(f"{self._message.message_type} failed: {cause(error)}"))

    async def _begun(self) -> T:
        try:
            return await self._next()
        finally:
            if self._patience is not None and not self._ended:
                self._limit.reschedule(asyncio.get_running_loop().time() + self._patience)

    def _refusal(self, failure: Exception | None) -> RequestError:
        if isinstance(failure, RequestError):
            return failure
        name = self._interceptor.name
        if failure is None:
            problem = "neither refused the message nor went on with it"
        elif isinstance(failure, TimeoutError) and self._limit.expired():
            problem = f"took longer than {self._patience:g} s"
        else:
            problem = f"failed: {cause(failure)}"
        logger.error("the interceptor %s %s", name, problem, exc_info=failure)
        return Failed(f"the interceptor {name} {problem}; the service's log says more")
