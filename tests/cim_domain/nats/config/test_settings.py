"""Settings: where they come from, which source decides, and what is said about mistakes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cim_domain.errors import ConfigurationError
from cim_domain.nats.config.settings import NatsSettings, load_settings, redacted
from cim_domain.nats.config.sources import read_configuration


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and an environment that says nothing about NATS."""
    for name in list(os.environ):
        if name.startswith("NATS_") or name in {"CIM_DOMAIN_CONFIG", "XDG_DATA_HOME"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = "", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def problems(**overrides: object) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**overrides)
    return str(caught.value).splitlines()


def addresses(settings: NatsSettings) -> list[str]:
    return [url.address for url in settings.urls]


def test_without_any_source_it_is_the_local_server_for_ever() -> None:
    settings = load_settings()
    assert addresses(settings) == ["nats://127.0.0.1:4222"]
    assert settings.reconnect.attempts == -1
    assert settings.replicas == 1
    assert settings.subject_prefix == ""
    assert not settings.encrypted


@pytest.mark.parametrize("name", ["NATS_URL", "NATS_URLS"])
def test_urls_come_from_either_variable_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "nats://a:1, b,tls://[::1]:7")
    assert addresses(load_settings()) == ["nats://a:1", "nats://b:4222", "tls://[::1]:7"]


def test_both_url_variables_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "a")
    monkeypatch.setenv("NATS_URLS", "b")
    assert problems() == ["NATS_URL, NATS_URLS: both are set; keep one of them"]


def test_arguments_decide_before_environment_before_file_before_defaults(
    monkeypatch: pytest.MonkeyPatch, clean: Path
) -> None:
    write(
        clean / "cim-domain.toml",
        '[nats]\nurl = "file"\nuser = "file"\npassword = "p"\nreplicas = 5\n'
        "[nats.reconnect]\nfactor = 3\nceiling = 7\nfirst_delay = 0.5\n[other]\nanything = 1",
    )
    monkeypatch.setenv("NATS_URL", "environment")
    monkeypatch.setenv("NATS_USER", "environment")
    monkeypatch.setenv("NATS_RECONNECT__FACTOR", "4")
    monkeypatch.setenv("NATS_RECONNECT__CEILING", "8")
    settings = load_settings(urls=["argument"], reconnect={"factor": 5}, replicas=None)
    assert addresses(settings) == ["nats://argument:4222"]
    assert settings.user == "environment"
    assert settings.replicas == 5
    assert settings.reconnect.model_dump() == {
        "attempts": -1, "first_delay": 0.5, "factor": 5, "ceiling": 8, "jitter": 0.2,
    }  # fmt: skip


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_TOKEN", "")
    monkeypatch.setenv("NATS_URL", "")
    assert load_settings().token is None


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIM_DOMAIN_CONFIG", "/nowhere/settings.toml")
    assert problems() == [
        "CIM_DOMAIN_CONFIG: there is no file /nowhere/settings.toml; create it, or unset this"
    ]


def test_a_named_file_is_read_and_its_relative_paths_start_beside_it(
    monkeypatch: pytest.MonkeyPatch, clean: Path
) -> None:
    directory = clean / "etc"
    directory.mkdir()
    write(directory / "ca.pem")
    write(directory / "mine.toml", '[nats]\ntls_ca = "ca.pem"\ndata_directory = "data"')
    monkeypatch.setenv("CIM_DOMAIN_CONFIG", "etc/mine.toml")
    settings = load_settings()
    assert settings.tls_ca == directory / "ca.pem"
    assert settings.data_directory == directory / "data"
    assert settings.encrypted
    assert read_configuration()[0] == directory / "mine.toml"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[nats", "is no TOML: "),
        ("nats = 3", "nats is no table; write it as [nats]"),
        ('[nats]\nurl = "a"\nurls = ["b"]', "keep one of them"),
    ],
)
def test_a_malformed_file_is_refused_by_its_path(clean: Path, content: str, said: str) -> None:
    file = write(clean / "cim-domain.toml", content)
    (line,) = problems()
    assert str(file) in line
    assert said in line


def test_unknown_keys_are_refused_by_path_with_the_nearest_known_one(clean: Path) -> None:
    write(clean / "cim-domain.toml", '[nats]\nuserr = "x"\n[nats.reconnect]\nfactr = 2')
    assert sorted(problems()) == [
        (
            "NATS_RECONNECT__FACTR (nats.reconnect.factr): there is no such setting; "
            "did you mean NATS_RECONNECT__FACTOR (nats.reconnect.factor)?"
        ),
        "NATS_USERR (nats.userr): there is no such setting; did you mean NATS_USER (nats.user)?",
    ]


def test_every_problem_has_its_line_with_both_names() -> None:
    lines = problems(replicas=2, connect_timeout=-1, reconnect={"attempts": 0}, urls=["a b", "c"])
    assert [line.split(":")[0] for line in lines] == [
        "NATS_URLS (nats.urls)",
        "NATS_RECONNECT (nats.reconnect)",
        "NATS_CONNECT_TIMEOUT (nats.connect_timeout)",
        "NATS_REPLICAS (nats.replicas)",
    ]
    assert lines[0].endswith("URL 1 of 2 is empty or has blanks in it; write nats://host:4222")
    assert lines[3].endswith("2 is not possible; use 1, 3 or 5")


def test_replicas_come_from_the_environment_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_REPLICAS", "3")
    assert load_settings().replicas == 3


def test_a_table_given_as_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_RECONNECT", "often")
    assert problems()[0].startswith("NATS_RECONNECT (nats.reconnect): is a table")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", "scheme"),
        ("ws://h", "scheme"),
        ("nats://", "no host"),
        ("nats://h:99999", "host and port"),
        ("nats://h:4222/x", "more than"),
        ("nats://h\n", "blanks"),
        ("", "empty"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, said: str) -> None:
    (line,) = problems(urls=[url])
    assert said in line


@pytest.mark.parametrize("prefix", ["staging", "staging.eu-1", "a_b.c"])
def test_subject_prefixes_are_tokens_with_dots(prefix: str) -> None:
    assert load_settings(subject_prefix=prefix).subject_prefix == prefix


@pytest.mark.parametrize("prefix", ["Staging", ".a", "a.", "a..b", "a.*", ">", "a b", "a\n"])
def test_other_subject_prefixes_are_refused(prefix: str) -> None:
    (line,) = problems(subject_prefix=prefix)
    assert line.startswith("NATS_SUBJECT_PREFIX (nats.subject_prefix): use lower-case")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"user": "u"}, "NATS_USER (nats.user): has no password"),
        ({"password": "p"}, "NATS_PASSWORD (nats.password): has no user"),
        ({"user": "u", "password": "p", "token": "t"}, "only one can"),
        ({"token": "t", "urls": "nats://u:p@h"}, "only one can"),
        ({"urls": "nats://u:p@h,nats://v:p@h"}, "different users"),
    ],
)
def test_who_connects_is_said_once_and_wholly(given: dict[str, str], said: str) -> None:
    (line,) = problems(**given)
    assert said in line


def test_each_kind_of_authentication_excludes_each_other(clean: Path) -> None:
    seed, creds = write(clean / "seed"), write(clean / "creds")
    assert "NATS_NKEY_SEED_FILE" in problems(nkey_seed_file=seed, token="t")[0]
    assert "NATS_CREDENTIALS_FILE" in problems(nkey_seed_file=seed, credentials_file=creds)[0]


def test_certificate_and_key_come_together(clean: Path) -> None:
    file = write(clean / "pem")
    assert "set NATS_TLS_KEY" in problems(tls_cert=file)[0]
    assert "set NATS_TLS_CERT" in problems(tls_key=file)[0]


@pytest.mark.parametrize(
    "setting", ["nkey_seed_file", "credentials_file", "tls_ca", "tls_cert", "tls_key"]
)
def test_files_must_be_there(clean: Path, setting: str) -> None:
    (line,) = problems(**{setting: clean / "missing"})
    assert line.startswith(f"NATS_{setting.upper()} (nats.{setting}): there is no file")


@pytest.mark.parametrize("setting", ["nkey_seed_file", "credentials_file", "tls_key"])
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_secret_files_that_others_may_read_are_refused(
    clean: Path, setting: str, mode: int
) -> None:
    file = write(clean / "secret", mode=mode)
    assert any(f"run: chmod 600 {file}" in line for line in problems(**{setting: file}))


def test_files_must_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    with as_somebody_else(), TemporaryDirectory() as directory:
        monkeypatch.chdir(directory)
        file = write(Path(directory) / "ca", mode=0)
        assert "cannot be read by this user" in problems(tls_ca=file)[0]


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything, so where the tests run as root this is done as nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_data_goes_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().data_directory == Path.home() / ".local/share/cim-domain"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert load_settings().data_directory == Path.home() / ".local/share/cim-domain"
    monkeypatch.setenv("XDG_DATA_HOME", "/var/data")
    assert load_settings().data_directory == Path("/var/data/cim-domain")
    monkeypatch.setenv("NATS_DATA_DIRECTORY", "/srv/own")
    assert load_settings().data_directory == Path("/srv/own")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().user = "other"


def test_no_printed_form_shows_a_secret() -> None:
    for settings in (
        load_settings(user="u", password="hunter2"),
        load_settings(token="hunter2"),
        load_settings(urls="nats://bob:hunter2@h:1"),
        load_settings(urls="nats://hunter2@h:1"),
    ):
        printed = [repr(settings), str(settings), settings.model_dump_json()]
        printed += [str(settings.model_dump()), f"{settings.urls}"]
        assert not any("hunter2" in text for text in printed)


@pytest.mark.parametrize(
    "given",
    [
        {"password": ["hunter2"], "user": "u"},
        {"token": b"\xffhunter2"},
        {"urls": "nats://u:hunter2@h:x"},
        {"urls": "nats://u:first,hunter2@h"},
        {"urls": "http://u:hunter2@h"},
        {"urls": "nats://u:hunt/hunter2@h"},
        {"urls": {"a": "hunter2"}},
        {"reconnect": "hunter2"},
        {"replicas": "hunter2"},
        {"token": "hunter2", "urls": "nats://u:hunter2@h"},
    ],
)
def test_no_error_shows_what_was_given(given: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**given)
    assert "hunter2" not in str(caught.value)
    assert "first" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://user:pass@host:4222", "nats://***@host:4222"),
        ("nats://token@host", "nats://***@host"),
        ("user:p@ss/w@host", "***@host"),
        ("nats://host:4222", "nats://host:4222"),
        ("nats://a:b@one,nats://c:d@two", "nats://***@two"),
    ],
)
def test_redacted_takes_out_who_connects(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_userinfo_is_read_with_its_escapes() -> None:
    (url,) = load_settings(urls="nats://bob:p%40ss@h").urls
    assert url.userinfo == ("bob", "p@ss")
    assert url.address == "nats://h:4222"
