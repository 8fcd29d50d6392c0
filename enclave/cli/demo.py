"""``enclave demo``: the whole enclave on one machine, with a synthetic identified cohort."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from enclave.cli.demo_supervisor import start_of, status_file
from enclave.cli.init import become_demo, make_home, move_port
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.settings_table import check_settings
from enclave.core.errors import ConflictError, EnclaveError, NotFoundError, UnavailableError
from enclave.hub.settings import HubSettings
from enclave.registry.settings import RegistrySettings
from enclave.runtime.home import Home, home_from

app = typer.Typer(
    no_args_is_help=True,
    help="The whole enclave on this machine, with a synthetic identified cohort.",
    epilog="Examples:  enclave demo start   ·   enclave demo up --port 9000   ·   enclave demo status --json -",
)

DEFAULT_PORT = 8000
PortOption = typer.Option(
    None,
    min=1,
    max=65_530,
    help=f"The sign-in page's port; the next five are used too. Default: as before, {DEFAULT_PORT} at the first time.",
)
UP_TIMEOUT_S = 150.0
WHERE = """
[bold green]The enclave is ready.[/]  Open [bold]{url}[/] in a browser of this machine.
Sign in on the demo's identity provider by typing one of these names (no password; all people are made up):
  [bold]rosa[/]        researcher: opens [italic]demo/first_look.ipynb[/] and asks for a figure to leave
  [bold]olga[/], [bold]omar[/]  output checkers: both look at the request and approve it in the console
  [bold]stella[/]      data steward      [bold]edgar[/]  expert
  [bold]hana[/]        honest broker     [bold]ada[/]    auditor
Console: [bold]{url}/services/console/[/]
"""


@app.command()
def up(home: HomeOption = None, port: int | None = PortOption) -> None:
    """Start everything in the background, and make the demo cohort when there is none yet."""
    from enclave.cli.demo_story import prepare

    place = _home_for(home, port)
    start_detached(place)
    prepare(place, tell=_tell)
    _print_where(place)


@app.command()
def start(home: HomeOption = None, port: int | None = PortOption) -> None:
    """Start everything, say where to sign in, and stay until Ctrl-C ends it all."""
    from enclave.cli.demo_story import prepare

    _end_as_by_ctrl_c()
    place = _home_for(home, port)
    try:
        start_detached(place)
        prepare(place, tell=_tell)
        _print_where(place)
        words().print("Press Ctrl-C to end everything. What was made stays and is there at the next start.")
        while read_status(place) is not None:
            time.sleep(1)
    except KeyboardInterrupt:
        words().print("Ending all processes …")
    finally:
        stop(place)


@app.command()
def down(home: HomeOption = None) -> None:
    """End all processes. Nothing that was made is lost."""
    place = home_of(home)
    if not stop(place):
        words().print("Nothing was running.")


@app.command()
def status(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Say what runs."""
    place = home_of(home)
    found = read_status(place)
    if found is None:
        raise NotFoundError("enclave: wanted it running, got nothing; `enclave demo up` starts it")
    if json_path:
        write_json({key: found[key] for key in ("url", "pids", "users", "sockets", "state")}, json_path)
        return
    words().print(f"{found['state']} at {found['url']}")
    for name, pid in found["pids"].items():
        words().print(f"  {name:<12} pid {pid}")


@app.command()
def check(home: HomeOption = None, port: int | None = PortOption) -> None:
    """Run the whole story without a browser and print one JSON line with what came out."""
    from enclave.cli.demo_check import run_check

    _end_as_by_ctrl_c()
    result = run_check(home_from(home).root if home else None, port=port or DEFAULT_PORT, tell=_tell)
    sys.stderr.flush()
    print(json.dumps(result, sort_keys=True), flush=True)  # noqa: T201 - the last line of output is the interface


def _home_for(option: Path | None, port: int | None) -> Home:
    home = home_from(option)
    if not home.format_file.exists():
        return make_home(home.root, port=port or DEFAULT_PORT, demo=True)
    check_settings(home.read_settings_text())
    if not home.settings(RegistrySettings, section="registry").allow_demo_keys and not become_demo(home):
        raise ConflictError(
            "demo: wanted a home made for a demonstration, got one that takes real experts' keys only and was in use; "
            "choose another --home, or make one with `enclave init --demo`"
        )
    if port is not None:
        _move(home, port)
    return home


def _move(home: Home, port: int) -> None:
    """Another port for a home that was there before; what runs keeps the one that it has."""
    if home.settings(HubSettings, section="hub").port == port:
        return
    running = read_status(home)
    if running is not None:
        raise ConflictError(
            f"--port: wanted {port}, got an enclave that runs at {running['url']}; `enclave demo down` first"
        )
    move_port(home, port)


def start_detached(home: Home) -> None:
    """Starts the supervisor in the background; returns when all processes are ready."""
    running = read_status(home)
    if running is not None and running["state"] == "up":
        return
    if running is not None and running["state"] == "stopping":  # Ctrl-C twice, and the command again at once
        _tell("waiting for what ran before to end")
        _await_end(running)
    log_path = home.state("logs") / "supervisor.log"
    with contextlib.ExitStack() as held:
        held.enter_context(_hold_interrupts())  # one within Popen would leave a process that nobody knows of
        with log_path.open("wb") as log_file:
            supervisor = subprocess.Popen(
                (sys.executable, "-P", "-m", "enclave.cli.demo_supervisor", "--home", str(home.root)),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        try:
            held.close()
            _await_up(home, supervisor, log_path)
        except BaseException:  # Ctrl-C too: before its status file is there, nobody else knows of it
            supervisor.terminate()
            supervisor.wait(90)
            raise


def _end_as_by_ctrl_c() -> None:
    """From now on the terminal's end and a request to end do what Ctrl-C does; what was ignored stays ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Ctrl-C within takes effect at the end; of several, once. In another thread than the main one nothing changes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    held = [number for number, handler in before.items() if callable(handler)]
    if threading.current_thread() is not threading.main_thread() or not held:
        yield
        return
    came: list[int] = []
    for number in held:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, before[number])
        if came:
            signal.raise_signal(came[0])


def _await_up(home: Home, supervisor: subprocess.Popen[bytes], log_path: Path) -> None:
    with _spinner() as progress:
        task = progress.add_task("Starting …", total=None)
        end = time.monotonic() + UP_TIMEOUT_S
        while time.monotonic() < end:
            found = read_status(home)
            if found is not None and found["state"] == "up":
                return
            if supervisor.poll() is not None:
                raise _start_error(log_path)
            names = list(found["pids"]) if found else []
            progress.update(task, description=f"Starting {names[-1] if names else '…'}")
            time.sleep(0.1)
    raise UnavailableError(f"enclave: wanted all processes ready within {UP_TIMEOUT_S:.0f} s, got some; see {log_path}")


def stop(home: Home) -> bool:
    """Ends the supervisor and with it everything; returns whether there was one."""
    found = read_status(home)
    if found is None:
        return False
    os.kill(int(found["supervisor"]), signal.SIGTERM)
    _await_end(found)
    return True


def _await_end(running: dict[str, Any]) -> None:
    pid = int(running["supervisor"])
    end = time.monotonic() + 90
    while start_of(pid) == running["started"]:
        if time.monotonic() > end:
            raise UnavailableError(f"supervisor {pid}: wanted it to end within 90 s, got no end; its log says why")
        time.sleep(0.1)


def read_status(home: Home) -> dict[str, Any] | None:
    """What the supervisor wrote, or None when none runs (a file left by a killed one does not count)."""
    try:
        found: dict[str, Any] = json.loads(status_file(home).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if start_of(int(found["supervisor"])) == found.get("started") else None


def _start_error(log_path: Path) -> EnclaveError:
    lines = [line for line in log_path.read_text("utf-8", errors="replace").splitlines() if not line.startswith("{")]
    return UnavailableError(" ".join(lines).strip() or f"enclave: it ended while starting; see {log_path}")


def _spinner() -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=words(), transient=True
    )


def _tell(text: str) -> None:
    words().print(f"[dim]·[/] {text}")


def _print_where(home: Home) -> None:
    found = read_status(home)
    if found is None:
        raise UnavailableError("enclave: wanted it running, got nothing; see the logs folder of the home")
    words().print(WHERE.format(url=found["url"]))
