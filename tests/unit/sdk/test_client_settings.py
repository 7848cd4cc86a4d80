"""Settings of the client: variables before defaults, and where a server is found."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from seafloor.domain.errors import InvalidValue, StoreUnavailable
from seafloor.sdk.discovery import find_server, read_server_file, require_server
from seafloor.sdk.settings import VARIABLES, check_url, read_settings, temporary_home


def test_read_settings__nothing_set__is_the_default() -> None:
    settings = read_settings({})
    assert settings.url is None
    assert settings.home == Path.home() / ".seafloor"
    assert settings.data == settings.home / "data"
    assert settings.exit_wait_s == 10.0
    assert settings.spool_max == 50 * 2**30
    assert settings.spool_free_min is None
    assert set(settings.origins.values()) == {"default"}


def test_read_settings__variables__say_where_values_are_from(tmp_path: Path) -> None:
    settings = read_settings(
        {
            "SEAFLOOR_URL": "http://127.0.0.1:7340/",
            "SEAFLOOR_HOME": str(tmp_path),
            "SEAFLOOR_TOKEN": "",
            "SEAFLOOR_EXIT_WAIT_S": "0.5",
            "SEAFLOOR_SPOOL_MAX": "20Gi",
            "SEAFLOOR_SPOOL_FREE_MIN": "1000000",
        }
    )
    assert settings.url == "http://127.0.0.1:7340"
    assert settings.data == tmp_path / "data"
    assert settings.spool == tmp_path / "spool"
    assert settings.origins["url"] == "SEAFLOOR_URL"
    assert settings.origins["token"] == "default"
    assert settings.exit_wait_s == 0.5
    assert settings.spool_max == 20 * 2**30
    assert settings.spool_free_min == 1_000_000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SEAFLOOR_URL", "localhost:7340"),
        ("SEAFLOOR_URL", "ftp://x"),
        ("SEAFLOOR_URL", "http://[::1"),
        ("SEAFLOOR_URL", "http://[x]:1"),
        ("SEAFLOOR_URL", "http://127.0.0.1:99999"),
        ("SEAFLOOR_URL", "http://localhost:port"),
        ("SEAFLOOR_URL", "http://:80"),
        ("SEAFLOOR_URL", "http://local\nhost"),
        ("SEAFLOOR_RUN_ID", "abc"),
        ("SEAFLOOR_ATTEMPT", "0"),
        ("SEAFLOOR_ATTEMPT", "one"),
        ("SEAFLOOR_EXIT_WAIT_S", "soon"),
        ("SEAFLOOR_EXIT_WAIT_S", "-1"),
        ("SEAFLOOR_SPOOL_MAX", "20GB"),
        ("SEAFLOOR_SPOOL_FREE_MIN", "0"),
    ],
)
def test_read_settings__a_value_that_cannot_be__names_the_variable(
    variable: str, value: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_settings({variable: value})
    assert caught.value.field == variable


def test_read_settings__every_variable__is_named_after_its_field() -> None:
    assert all(name == f"SEAFLOOR_{field.upper()}" for field, name in VARIABLES.items())


@pytest.mark.parametrize("url", ["http://[::1]:7340", "https://user@h.example/below"])
def test_check_url__an_address__is_as_it_is(url: str) -> None:
    assert check_url(f" {url}/ ", field="url") == url


def test_find_server__a_server_file_of_a_living_process__is_believed(tmp_path: Path) -> None:
    settings = read_settings({"SEAFLOOR_DATA": str(tmp_path)})
    assert find_server(settings) is None
    content = {"url": "http://127.0.0.1:1/", "pid": os.getpid(), "version": "0", "started_ns": 1}
    (tmp_path / "server.json").write_text(json.dumps({**content, "port": 1}))
    assert find_server(settings) == "http://127.0.0.1:1"


def test_require_server__the_server_is_dead__says_how_to_start_one(tmp_path: Path) -> None:
    settings = read_settings({"SEAFLOOR_DATA": str(tmp_path)})
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    content = {"url": "http://127.0.0.1:1", "pid": dead, "version": "0", "started_ns": 1}
    (tmp_path / "server.json").write_text(json.dumps(content))
    with pytest.raises(StoreUnavailable, match="seafloor up"):
        require_server(settings)


def test_read_server_file__torn__is_none(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"url": "http')
    assert read_server_file(tmp_path) is None


def test_variables__compared_with_the_reference__are_all_described() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "client-settings.md"
    rows = [line.split("`")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(VARIABLES.values())


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user whose home nobody knows, as a user id without a name has none; the folder for all."""

    def unknown(_path: str) -> str:
        return "~"

    monkeypatch.setattr(os.path, "expanduser", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary_home.cache_clear()
    yield tmp_path
    temporary_home.cache_clear()


def test_read_settings__no_home_is_known__is_a_folder_of_this_user_and_said_once(
    homeless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings({})
    assert read_settings({}) == settings
    assert settings.home == homeless / f"seafloor-{os.getuid()}"
    assert settings.home.stat().st_mode & 0o777 == 0o700
    assert [("SEAFLOOR_HOME" in record.message) for record in caplog.records] == [True]
    temporary_home.cache_clear()
    assert read_settings({}) == settings


def test_read_settings__no_home_is_known_and_the_folder_is_anothers__names_the_variable(
    homeless: Path,
) -> None:
    (homeless / f"seafloor-{os.getuid()}").symlink_to(homeless)
    with pytest.raises(InvalidValue, match="Set SEAFLOOR_HOME") as caught:
        read_settings({})
    assert caught.value.field == "SEAFLOOR_HOME"


@pytest.mark.parametrize("variable", ["SEAFLOOR_HOME", "SEAFLOOR_DATA"])
@pytest.mark.usefixtures("homeless")
def test_read_settings__below_a_home_that_nobody_knows__names_the_variable(variable: str) -> None:
    with pytest.raises(InvalidValue, match="has no home") as caught:
        read_settings({"SEAFLOOR_HOME": "/x", variable: "~/here"})
    assert caught.value.field == variable
