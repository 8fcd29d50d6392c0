"""A home is made whole or not at all."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from enclave.cli import init as init_module
from enclave.cli.demo import up
from enclave.cli.init import become_demo, init, make_home, move_port
from enclave.core.errors import ConflictError
from enclave.hub.settings import HubSettings
from enclave.registry.settings import RegistrySettings
from enclave.runtime.home import HOME_FORMAT, Home


def test_a_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8000)
    for path in [home.root, *home.root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.suffix == ".pub", path


def test_a_second_home_in_the_same_place_is_refused_and_the_first_is_untouched(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8000)
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    with pytest.raises(ConflictError, match="wanted an empty place"):
        make_home(tmp_path / "home", port=8000)
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_nothing_is_left_when_making_it_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(init_module, "new_x25519", fail)
    with pytest.raises(OSError, match="disk full"):
        make_home(tmp_path / "home", port=8000)
    assert list(tmp_path.iterdir()) == []


def test_a_home_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8000)
    home.format_file.write_text(str(HOME_FORMAT + 1))
    with pytest.raises(ConflictError, match="made by a newer release"):
        Home(home.root).check_format()


def _first_event(home: Home) -> None:
    (home.root / "audit" / "segments").mkdir()
    (home.root / "audit" / "segments" / "000000000000.seg").touch()


def _first_project(home: Home) -> None:
    (home.root / "registry" / "state.db").touch()


def _a_choice(home: Home) -> None:
    home.settings_file.write_text(
        home.read_settings_text().replace("[registry]", "[registry]\nallow_demo_keys = false")
    )


@pytest.mark.parametrize("use", [_first_event, _first_project, _a_choice])
def test_a_home_in_use_for_real_experts_is_no_demo(tmp_path: Path, use: Callable[[Home], None]) -> None:
    init(tmp_path / "real", port=19_900, demo=False)
    home = Home(tmp_path / "real")
    use(home)
    before = home.read_settings_text()
    with pytest.raises(ConflictError, match="enclave init --demo"):
        up(home.root, port=19_900)
    assert home.read_settings_text() == before


def test_a_home_that_was_never_used_becomes_a_demo_when_asked(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=19_900)
    assert not home.settings(RegistrySettings, section="registry").allow_demo_keys
    assert become_demo(home)
    assert Home(home.root).settings(RegistrySettings, section="registry").allow_demo_keys
    assert tomllib.loads(home.read_settings_text())["hub"]["port"] == 19_900


@pytest.mark.parametrize("extra", ["", "session_hours = 4\n", "# port = 1\nsession_hours = 4\n"])
def test_another_port_is_written_into_a_home_that_is_there_and_nothing_else_changes(tmp_path: Path, extra: str) -> None:
    home = make_home(tmp_path / "home", port=8000)
    text = home.settings_file.read_text().replace("[hub]\n", f"[hub]\n{extra}")
    home.settings_file.write_text(text)
    move_port(home, 9100)
    assert home.settings_file.read_text() == text.replace("port = 8000", "port = 9100")
    assert stat.S_IMODE(home.settings_file.stat().st_mode) == 0o600
    move_port(home, 9100)


@pytest.mark.parametrize("hub", ["session_hours = 4", '"port" = 8000', "port = 0x1F40"])
def test_a_port_that_is_not_in_one_plain_line_is_left_and_said(tmp_path: Path, hub: str) -> None:
    home = make_home(tmp_path / "home", port=8000)
    text = f"[hub]\n{hub}\n[airlock]\n"
    home.settings_file.write_text(text)
    with pytest.raises(ConflictError, match=r"change \[hub\] port there"):
        move_port(home, 9100)
    assert home.settings_file.read_text() == text


def test_the_demo_takes_the_port_that_is_asked_for_unless_it_runs_at_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave.cli.demo.start_detached", lambda _home: None)
    monkeypatch.setattr("enclave.cli.demo_story.prepare", lambda _home, **_: None)
    monkeypatch.setattr("enclave.cli.demo._print_where", lambda _home: None)
    root = tmp_path / "home"
    for asked, got in ((None, 8000), (9100, 9100), (None, 9100), (9100, 9100)):
        up(home=root, port=asked)
        assert Home(root).settings(HubSettings, section="hub").port == got
    running = {"url": "http://localhost:9100", "state": "up"}
    monkeypatch.setattr("enclave.cli.demo.read_status", lambda _home: running)
    up(home=root, port=9100)
    with pytest.raises(ConflictError, match="runs at http://localhost:9100"):
        up(home=root, port=9200)
    assert Home(root).settings(HubSettings, section="hub").port == 9100
