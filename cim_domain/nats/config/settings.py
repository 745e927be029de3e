"""Where NATS is, who connects, and how patiently: from arguments, environment and a file.

The first that names a setting decides: arguments of `load_settings`, then environment variables
(``NATS_URL``, ``NATS_RECONNECT__CEILING``), then the section ``[nats]`` of ``cim-domain.toml`` in
the working directory, or of the file that ``CIM_DOMAIN_CONFIG`` names, then the defaults. An empty
environment variable counts as not set. In the file, relative paths start at the file's directory.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cim_domain.errors import ConfigurationError
from cim_domain.nats.config.files import private_file, readable_file
from cim_domain.nats.config.problems import lines, shown
from cim_domain.nats.config.reconnect import Reconnect
from cim_domain.nats.config.sources import file_section, url_variable, with_urls
from cim_domain.nats.config.urls import ServerUrl, redacted, server_url

__all__ = ["NatsSettings", "Reconnect", "ServerUrl", "load_settings", "redacted"]

REPLICAS = (1, 3, 5)


def _split(value: object) -> object:
    """``"a, b"`` as a list; anything else is left for the types to judge."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _normalized(urls: tuple[ServerUrl, ...]) -> tuple[ServerUrl, ...]:
    normal = []
    for number, url in enumerate(urls, 1):
        try:
            normal.append(server_url(url.get_secret_value()))
        except ValueError as error:
            raise ValueError(f"URL {number} of {len(urls)} {error}") from None
    return tuple(normal)


def _default_data_directory() -> Path:
    named = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    if Path(named).is_absolute():
        return Path(named) / "cim-domain"
    try:
        return Path.home() / ".local/share/cim-domain"
    except RuntimeError:
        raise ConfigurationError(
            f"{shown(['data_directory'])}: there is no home directory to put it in; set it"
        ) from None


Urls = Annotated[
    tuple[ServerUrl, ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_normalized),
    Field(min_length=1),
]
Prefix = Annotated[str, Field(pattern=r"^([a-z0-9_-]+(\.[a-z0-9_-]+)*)?$", max_length=200)]
Inbox = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=200)]
Text = Annotated[str, Field(min_length=1)]
SecretText = Annotated[SecretStr, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class NatsSettings(BaseSettings):
    """Everything a connection needs; made by `load_settings`, which also words what is wrong.

    No printed form shows a password, a token, or the user that a URL names.
    """

    model_config = SettingsConfigDict(
        env_prefix="NATS_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    urls: Urls = (ServerUrl("nats://127.0.0.1:4222"),)
    """The servers, a list or text with commas; also ``url``. ``tls://`` insists on encryption."""
    subject_prefix: Prefix = ""
    """Put before every subject, so that several installations share a server: ``staging.eu``."""
    inbox_prefix: Inbox = "_INBOX"
    """Where replies arrive. A role's own one keeps others from reading them: ``_INBOX_client``."""
    user: Text | None = None
    password: SecretText | None = None
    token: SecretText | None = None
    nkey_seed_file: Path | None = None
    credentials_file: Path | None = None
    """A user's JWT and seed in one file, as nsc writes it (``.creds``)."""
    tls_ca: Path | None = None
    """PEM certificates to trust instead of the system's authorities; insists on encryption."""
    tls_cert: Path | None = None
    """PEM certificate that this client shows; insists on encryption."""
    tls_key: Path | None = None
    tls_handshake_first: bool = False
    """Encrypt before the server's first word; for servers with ``handshake_first``."""
    reconnect: Reconnect = Reconnect()
    connect_timeout: Seconds = 5.0
    """Seconds for the whole of the first connect, all servers together."""
    ping_interval: Seconds = 10.0
    """Seconds between pings; a connection that left two unanswered is taken for lost."""
    replicas: int = 1
    """On how many servers of a cluster each stream is kept: 1, 3 or 5."""
    data_directory: Path = Field(default_factory=_default_data_directory)
    """Where the embedded server and file-based views keep their data."""

    @field_validator("replicas")
    @classmethod
    def _replicas(cls, replicas: int) -> int:
        if replicas not in REPLICAS:
            raise ValueError(f"{replicas} is not possible; use 1, 3 or 5")
        return replicas

    @field_validator("tls_ca", "tls_cert")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        return readable_file(path) if path else None

    @field_validator("nkey_seed_file", "credentials_file", "tls_key")
    @classmethod
    def _private(cls, path: Path | None) -> Path | None:
        return private_file(path) if path else None

    @field_validator("data_directory")
    @classmethod
    def _data_directory(cls, directory: Path) -> Path:
        return directory.expanduser().absolute()

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [*self._authentication_problems(), *self._tls_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _authentication_problems(self) -> list[str]:
        problems = []
        if self.user and not self.password:
            problems.append(f"{shown(['user'])}: has no password; set {shown(['password'])} too")
        if self.password and not self.user:
            problems.append(f"{shown(['password'])}: has no user; set {shown(['user'])} too")
        named = {url.userinfo for url in self.urls if url.userinfo}
        if len(named) > 1:
            problems.append(
                f"{shown(['urls'])}: name different users; name one, or use {shown(['user'])}"
            )
        kinds = {
            "user": self.user or self.password,
            "token": self.token,
            "nkey_seed_file": self.nkey_seed_file,
            "credentials_file": self.credentials_file,
            "urls": named,
        }
        given = [name for name, value in kinds.items() if value]
        if len(given) > 1:
            names = ", ".join(shown([name]) for name in given)
            problems.append(f"{names}: each says who connects, and only one can; keep one of them")
        return problems

    def _tls_problems(self) -> list[str]:
        if bool(self.tls_cert) == bool(self.tls_key):
            return []
        given, missing = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
        return [f"{shown([given])}: is of no use alone; set {shown([missing])} too"]

    @property
    def encrypted(self) -> bool:
        """Whether clear text is refused, whatever a server offers."""
        files = self.tls_ca or self.tls_cert
        return bool(files or self.tls_handshake_first or any(url.encrypted for url in self.urls))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            InitSettingsSource(settings_cls, init_kwargs=url_variable()),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=file_section("nats")),
        )


def load_settings(**overrides: Any) -> NatsSettings:
    """The settings from all sources; an override of None counts as not given.

    Raises `ConfigurationError` with one line for each problem: the setting, what is wrong, what
    to do.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return NatsSettings(**with_urls(given, "arguments"))
    except ValidationError as error:
        problems = [
            line for item in error.errors(include_input=False) for line in lines(item, NatsSettings)
        ]
    except SettingsError:
        problems = [
            f"{shown(['reconnect'])}: is a table; set its parts, as NATS_RECONNECT__CEILING=10"
        ]
    # Raised out here, so that no traceback carries the values that were refused.
    raise ConfigurationError("\n".join(problems))
