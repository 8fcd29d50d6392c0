"""What a browser reads of saved files counts as shown: the launcher is asked before a byte of it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from enclave.audit.client import AuditClient
from enclave.core.errors import DeniedError
from enclave.runtime.log import Log
from enclave.server.gate.front import Front
from enclave.server.gate.keeper import Keeper
from enclave.server.gate.refusals import Refusals
from enclave.server.gate.uploads import Uploads
from enclave.wire.messages.launcher import ShowFile
from enclave.wire.messages.schema import Done
from enclave.wire.peer import WireServer

SHOWN = "SAVED-OUTPUT-4711"
NOTEBOOK = {"type": "notebook", "format": "json", "content": {"cells": [SHOWN]}, "path": "demo/a.ipynb"}


class Launcher:
    """The launcher's end; a test says what it answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, int]] = []
        self.spent = False
        self.server = WireServer(path, {ShowFile: self.show}, log=Log("launcher"), allowed_uids=None)
        self.server.start()

    def show(self, message: ShowFile, _: Any) -> Done:
        self.asked.append((message.path, message.size_bytes))
        if self.spent:
            raise DeniedError("Files: wanted one within what this hour may show, got one beyond it", code="hour_budget")
        return Done()


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    found = Launcher(tmp_path / "l.sock")
    yield found
    found.server.close()


@pytest.fixture
def get(tmp_path: Path, auditd: Any, launcher: Launcher) -> Callable[[str, Any], tuple[int, str]]:
    """GETs one path of a server that answers with one model."""

    async def send(path: str, model: Any) -> tuple[int, str]:
        async def page(_: web.Request) -> web.Response:
            return web.json_response(model)

        inner = web.Application()
        inner.router.add_route("*", "/{path:.*}", page)
        audit = AuditClient(auditd.home.socket("auditd"))
        refusals = Refusals("rosa", audit, Log("gate"))
        runners = [web.AppRunner(inner, access_log=None, shutdown_timeout=0.1)]
        await runners[0].setup()
        await web.UnixSite(runners[0], str(tmp_path / "s.sock")).start()
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "s.sock"))) as session:
            uploads = Uploads("rosa", audit, Log("gate"))
            front = Front("/user/rosa/", session, refusals, uploads, Keeper(launcher.path))
            runners.append(web.AppRunner(front.app(), access_log=None))
            await runners[1].setup()
            await web.UnixSite(runners[1], str(tmp_path / "g.sock")).start()
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "g.sock"))) as browser,
                browser.get(f"http://localhost/user/rosa/api/contents/{path}") as answer,
            ):
                found = answer.status, await answer.text()
            await refusals.drain()
        for runner in reversed(runners):
            await runner.cleanup()
        audit.close()
        return found

    return lambda path, model: asyncio.run(send(path, model))


def test_a_saved_notebook_is_shown_and_counted(get: Any, launcher: Launcher) -> None:
    status, text = get("demo/a.ipynb", NOTEBOOK)
    assert (status, SHOWN in text) == (200, True)
    assert launcher.asked == [("demo/a.ipynb", len(text))]


def test_beyond_the_budget_nothing_of_it_passes_and_that_is_an_event(get: Any, launcher: Launcher, auditd: Any) -> None:
    launcher.spent = True
    status, text = get("demo/a.ipynb", NOTEBOOK)
    assert (status, SHOWN in text, "this hour" in text) == (403, False, True)
    reasons = [event["reason"] for event in auditd.events(kind="gate.refused")]
    assert reasons == ["hour_budget"]


def test_without_an_answer_nothing_passes(get: Any, launcher: Launcher) -> None:
    launcher.server.close()
    status, text = get("demo/a.ipynb", NOTEBOOK)
    assert (status, SHOWN in text) == (503, False)


def test_what_shows_nothing_of_a_file_is_not_counted(get: Any, launcher: Launcher) -> None:
    assert get("demo/a.ipynb", {**NOTEBOOK, "content": None, "format": None})[0] == 200
    assert get("demo", {"type": "directory", "format": "json", "content": [{"name": "a.ipynb"}]})[0] == 200
    assert launcher.asked == []
