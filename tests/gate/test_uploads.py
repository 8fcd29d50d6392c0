"""Uploads through a real gate: scanned, recorded before they pass, refused with words for the person."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from enclave.audit.client import AuditClient
from enclave.core.errors import UnavailableError
from enclave.runtime.log import Log
from enclave.server.gate.front import Front
from enclave.server.gate.keeper import Keeper
from enclave.server.gate.refusals import Refusals
from enclave.server.gate.uploads import Uploads
from enclave.wire.messages.launcher import KeepFiles
from enclave.wire.messages.schema import Done
from enclave.wire.peer import WireServer

pytestmark = pytest.mark.row("S4.5")
CLEAN = "import numpy as np\nx = np.zeros(3)\n"
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\n"
Put = Callable[..., tuple[int, str]]


class KeeperStandIn:
    """The launcher's end; ``broken`` makes it fail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0
        self.broken = False
        self._server = WireServer(path, {KeepFiles: self.keep}, log=Log("launcher"), allowed_uids=None)
        self._server.start()

    def keep(self, _m: KeepFiles, _c: Any) -> Done:
        self.asked += 1
        if self.broken:
            raise UnavailableError("ledger: wanted a receipt, got none")
        return Done()

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[KeeperStandIn]:
    found = KeeperStandIn(tmp_path / "k.sock")
    yield found
    found.close()


@pytest.fixture
def put(tmp_path: Path, auditd: Any, keeper: KeeperStandIn) -> Any:
    """Sends PUTs through one gate; gives the answers, and what arrived at the server behind it."""
    arrived: list[str] = []

    async def server(request: web.Request) -> web.Response:
        arrived.append(request.path)
        await request.read()
        return web.json_response({"name": "x"}, status=201)

    async def send(models: list[tuple[str, dict[str, Any]]]) -> list[tuple[int, str]]:
        inner = web.Application(client_max_size=1 << 24)
        inner.router.add_route("*", "/{path:.*}", server)
        log = Log("gate")
        audit = AuditClient(auditd.home.socket("auditd"), deadline_s=0.5)
        refusals = Refusals("rosa", audit, log)
        runners = [web.AppRunner(inner, access_log=None, shutdown_timeout=0.1)]
        await runners[0].setup()
        await web.UnixSite(runners[0], str(tmp_path / "s.sock")).start()
        answers = []
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "s.sock"))) as session:
            front = Front("/user/rosa/", session, refusals, Uploads("rosa", audit, log), Keeper(keeper.path))
            runners.append(web.AppRunner(front.app(), access_log=None))
            await runners[1].setup()
            await web.UnixSite(runners[1], str(tmp_path / "g.sock")).start()
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "g.sock"))) as browser:
                for name, model in models:
                    url = f"http://localhost/user/rosa/api/contents/{name}"
                    async with browser.put(url, json=model) as answer:
                        answers.append((answer.status, await answer.text()))
            await refusals.drain()
        for runner in reversed(runners):
            await runner.cleanup()
        audit.close()
        return answers

    def run(*models: tuple[str, dict[str, Any]]) -> tuple[list[tuple[int, str]], list[str]]:
        arrived.clear()
        return asyncio.run(send(list(models))), list(arrived)

    return run


def upload(text: str | bytes, **more: Any) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    return {"type": "file", "format": "base64", "content": base64.b64encode(data).decode(), **more}


def test_a_clean_upload_is_recorded_and_passes(put: Any, auditd: Any) -> None:
    answers, arrived = put(("demo/a.py", upload(CLEAN)))
    assert [status for status, _ in answers] == [201]
    assert len(arrived) == 1
    (event,) = auditd.events(kind="code.upload")
    assert (event["outcome"], event["actor"]) == ("ok", "rosa")
    assert event["detail"]["ending"] == "py"
    assert event["detail"]["size_bytes"] == len(CLEAN)
    assert "demo/a" not in json.dumps(auditd.events()), "a file's name may say who it is about"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (CLEAN + KEY, "private_key"),
        (CLEAN + 'api_key = "a8f5f167f44f4964"', "secret"),
        (CLEAN + "# MRN: 00412345", "identifier"),
        (CLEAN + base64.b64encode(b"\x7fELF" + bytes(300)).decode(), "embedded_file"),
        (CLEAN + base64.b64encode(bytes(60_000)).decode(), "large_blob"),
    ],
)
def test_an_upload_with_a_finding_is_refused_in_plain_words_and_is_an_event(
    put: Any, auditd: Any, text: str, rule: str
) -> None:
    answers, arrived = put(("a.py", upload(text)), ("b.py", upload(CLEAN)))
    assert [status for status, _ in answers] == [403, 201]
    message = json.loads(answers[0][1])["message"]
    assert "line 3" in message
    assert "take it out and upload again" in message
    assert [path.rpartition("/")[2] for path in arrived] == ["b.py"]
    (event,) = auditd.events(kind="code.upload", outcome="refused")
    assert (event["reason"], event["detail"]["findings"]) == (rule, [rule])
    for told in (message, json.dumps(event)):
        assert "00412345" not in told
        assert "a8f5f167" not in told
    assert auditd.events(kind="gate.refused") == [], "it has its own event"


def test_a_secret_that_lies_across_two_pieces_is_found(put: Any, auditd: Any) -> None:
    text = "x = 1\n" * 100 + KEY + "y = 2\n" * 100
    cut = text.index("PRIVATE")
    answers, _ = put(("a.py", upload(text[:cut], chunk=1)), ("a.py", upload(text[cut:], chunk=-1)))
    assert [status for status, _ in answers] == [201, 403]
    answers, _ = put(("a.py", upload(CLEAN * 1000, chunk=1)), ("a.py", upload(CLEAN, chunk=-1)))
    assert [status for status, _ in answers] == [201, 201]
    assert len(auditd.events(kind="code.upload", outcome="ok")) == 3


@pytest.mark.parametrize("spelled", [str, lambda text: text.replace("s", "\\u0073")])
def test_a_secret_in_a_cell_is_found_in_pieces_of_a_notebook_as_in_the_whole(put: Any, spelled: Any) -> None:
    cell = {"cell_type": "code", "source": 'password = "hunter2-Zq9kk-hunter2"', "metadata": {}, "outputs": []}
    text = json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    text = text.replace("password", spelled("password"))
    answers, _ = put(
        ("a.ipynb", upload(text)), ("b.ipynb", upload(text[:5], chunk=1)), ("b.ipynb", upload(text[5:], chunk=-1))
    )
    assert [status for status, _ in answers] == [403, 201, 403]


@pytest.mark.parametrize("model", [upload(b"\x7fELF\0"), upload(CLEAN, chunk=9), upload("x" * 5_000_001)])
def test_what_is_no_text_or_too_large_never_reaches_the_scan(put: Any, auditd: Any, model: dict[str, Any]) -> None:
    answers, arrived = put(("a.py", model))
    assert answers[0][0] == 403
    assert arrived == []
    assert auditd.events(kind="gate.refused")


def test_without_the_ledger_nothing_comes_in(put: Any, auditd: Any) -> None:
    auditd.stop()
    answers, arrived = put(("a.py", upload(CLEAN)))
    assert answers[0][0] == 503
    assert arrived == []


def test_a_save_is_never_refused_and_what_it_holds_is_told_once(put: Any, auditd: Any) -> None:
    cells = [{"cell_type": "code", "source": "# MRN: 00412345", "outputs": []}]
    model = {"type": "notebook", "format": "json", "content": {"cells": cells, "nbformat": 4}}
    text = {"type": "file", "format": "text", "content": CLEAN}
    answers, arrived = put(("a.ipynb", model), ("a.ipynb", model), ("b.py", text))
    assert [status for status, _ in answers] == [201, 201, 201]
    assert len(arrived) == 3
    (event,) = auditd.events(kind="code.found")
    assert event["detail"]["findings"] == ["identifier"]
    assert auditd.events(kind="code.upload") == []


def test_nothing_is_called_saved_before_it_is_sealed(put: Put, keeper: KeeperStandIn) -> None:
    saved = {"type": "notebook", "format": "json", "content": {"cells": [], "metadata": {}}}
    answers, arrived = put(("a.ipynb", saved))
    assert (answers[0][0], len(arrived), keeper.asked) == (201, 1, 1)
    keeper.broken = True
    answers, arrived = put(("a.ipynb", saved))
    status, words = answers[0]
    assert (status, len(arrived), keeper.asked) == (503, 1, 2)
    assert "save again" in json.loads(words)["message"]


def test_what_writes_nothing_is_not_sealed(put: Put, keeper: KeeperStandIn) -> None:
    answers, arrived = put(("values.csv", {"type": "file", "format": "text", "content": "a,b"}))
    assert (answers[0][0], arrived, keeper.asked) == (403, [], 0)
