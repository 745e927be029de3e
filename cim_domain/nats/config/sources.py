"""Where settings come from besides arguments: the configuration file and the environment."""

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cim_domain.errors import ConfigurationError

CONFIGURATION_FILE = "cim-domain.toml"
CONFIGURATION_VARIABLE = "CIM_DOMAIN_CONFIG"
NATS_PATHS = frozenset(
    {"nkey_seed_file", "credentials_file", "tls_ca", "tls_cert", "tls_key", "data_directory"}
)


def read_configuration() -> tuple[Path | None, dict[str, Any]]:
    """The configuration file and its content, all sections; (None, {}) when there is none.

    Raises `ConfigurationError` for a file that was named and is missing, or is no TOML.
    """
    named = os.environ.get(CONFIGURATION_VARIABLE)
    path = Path(named or CONFIGURATION_FILE).expanduser().absolute()
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigurationError(
                f"{CONFIGURATION_VARIABLE}: there is no file {path}; create it, or unset this"
            ) from None
        return None, {}
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is no TOML: {error}") from None


def file_section(name: str, paths: Collection[str] = NATS_PATHS) -> dict[str, Any]:
    """One section of the file; relative paths in the settings `paths` start at its directory."""
    file, content = read_configuration()
    if file is None:
        return {}
    section = content.get(name, {})
    if not isinstance(section, dict):
        raise ConfigurationError(f"{file}: {name} is no table; write it as [{name}]")
    return {
        setting: file.parent / Path(value).expanduser()
        if setting in paths and isinstance(value, str)
        else value
        for setting, value in with_urls(section, str(file)).items()
    }


def url_variable() -> dict[str, Any]:
    """``NATS_URL``, which no field is called: another name of ``NATS_URLS``."""
    url = os.environ.get("NATS_URL")
    if url and os.environ.get("NATS_URLS"):
        raise ConfigurationError("NATS_URL, NATS_URLS: both are set; keep one of them")
    return {"urls": url} if url else {}


def with_urls(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values with `url` under its other name, `urls`."""
    if "url" not in values:
        return dict(values)
    if "urls" in values:
        raise ConfigurationError(f"url, urls: both are in {source}; keep one of them")
    return {"urls" if name == "url" else name: value for name, value in values.items()}
