"""How a service runs: from arguments, environment (``CIM_DOMAIN_…``) and file (``[service]``).

The same order and the same file as for `cim_domain.nats.config`, which says where the server is.
"""

from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cim_domain.errors import ConfigurationError
from cim_domain.nats.config.sources import file_section
from cim_domain.partition import LARGEST_NUMBER
from cim_domain.projections.status import OnPoison

SECTION = "service"
PREFIX = "CIM_DOMAIN_"

Count = Annotated[int, Field(ge=1, le=10_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=10_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class ServiceSettings(BaseSettings):
    """Limits and choices of a service; made by `load_service_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    views: SecretStr = SecretStr("sqlite")
    """``sqlite`` (a file in the data directory), ``memory``, or a URL ``postgresql://…``."""
    partitions: Annotated[int, Field(ge=1, le=LARGEST_NUMBER)] | None = None
    """Over how many partitions a new log spreads its aggregates; without it 16. It never changes
    afterwards: a log that was made with another number is refused.
    """
    on_poison: OnPoison = OnPoison.STOP
    """Whether a projection stops at an event that cannot be projected, or skips it."""
    cache: CountOrNone = 10_000
    """How many aggregates are kept in memory, those used last; 0: none."""
    snapshot_every: CountOrNone = 100
    """After so many events of an aggregate a snapshot of it is written; 0: never."""
    commands_in_flight: Count = 2000
    """Past so many commands at a time the answer is `busy`."""
    queries_in_flight: Count = 1_000
    """Past so many queries at a time the answer is `busy`."""
    query_wait: Seconds = 5.0
    """Seconds that a query waits for views to reach its ``X-Min-Sequence``."""
    query_patience: Seconds = 30.0
    """Seconds after which a query is given up."""
    store_patience: Seconds = 12.0
    """Seconds that a command waits for a server that is away; an election takes 4 to 8."""
    start_patience: Seconds = 30.0
    """Seconds that a start waits for JetStream, once it is connected: an election takes 4 to 8."""
    stop_patience: Seconds = 20.0
    """Seconds that ending may take. What is still in flight then, such as reactions, is cut."""
    stop_silence: Seconds = 3.0
    """Seconds that ending waits for a sign of the server; without one it goes on without it."""
    lag_allowed: Annotated[int, Field(ge=0)] = 10_000
    """Events that a projection may be behind before health says degraded."""
    attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often a process's event, or a stored command, is tried before it is a dead letter."""
    ack_wait: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """Seconds after which others get the events and stored commands of an instance that died."""
    outcomes_kept: Annotated[float, Field(ge=0.1, le=3_153_600_000)] = 604_800.0
    """Seconds for which it can be asked what came of a stored command, and for which a command that
    left no trace in the log gets its first answer again when its id comes again; a week.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        file = InitSettingsSource(settings_cls, init_kwargs=file_section(SECTION, ()))
        return (init_settings, env_settings, file)


def load_service_settings(**overrides: Any) -> ServiceSettings:
    """The settings from all sources; an override of None counts as not given.

    Raises `ConfigurationError` with one line for each problem: the setting and what is wrong.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return ServiceSettings(**given)
    except ValidationError as error:
        problems = [
            f"{PREFIX}{name.upper()} ({SECTION}.{name}): {one['msg']}"
            for one in error.errors(include_input=False)
            for name in [".".join(map(str, one["loc"]))]
        ]
    # Raised out here, so that no traceback carries the values that were refused.
    raise ConfigurationError("\n".join(problems))
