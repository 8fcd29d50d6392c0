"""What a real kernel's notebook shows, what it does not, and that the ledger knows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from enclave.wire.messages import launcher

SMALL = """
[launcher.display]
html_kb = 64
cell = { mb = 1, images = 2, rows = 1000 }
hour = { mb = 3, images = 4, rows = 2500 }
day = { mb = 100, images = 100, rows = 100000 }
freeze_after = 3
"""
PICTURE = (
    "import base64, zlib, struct\n"
    "def part(k, d): return struct.pack('>I', len(d)) + k + d + struct.pack('>I', zlib.crc32(k + d))\n"
    "PNG = b'\\x89PNG\\r\\n\\x1a\\n' + part(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0))"
    " + part(b'IDAT', zlib.compress(b'\\0\\0')) + part(b'IEND', b'')\n"
    "from IPython.display import display, Image, HTML, SVG, Javascript\n"
)


def _wait(found: Any, *, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def shown(notebook: Any, code: str) -> list[dict[str, Any]]:
    """All messages of one cell on iopub, as a client gets them."""
    found: list[dict[str, Any]] = []
    notebook.client.execute_interactive(code, timeout=30, output_hook=found.append)
    return found


def bundles(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["content"]["data"] for one in messages if "data" in one["content"]]


def refusals(stand: Any, count: int) -> list[dict[str, Any]]:
    _wait(lambda: len(stand.ledger.events(kind="output.refused")) >= count)
    return stand.ledger.events(kind="output.refused")


def test_text_pictures_and_tables_are_shown_and_nothing_that_runs(stand: Any, notebook: Any) -> None:
    notebook.run(PICTURE)
    code = (
        "display(Image(PNG + b'hidden tail'))\n"
        "display(HTML('<table><tr><td onclick=\"x()\">7</td></tr></table><script>steal()</script>'))\n"
        "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><script>steal()</script></svg>'))\n"
        "display(Javascript('steal()'))\n"
        "display({'application/json': {'x': 1}}, raw=True)\n"
        "print(42)"
    )
    messages = shown(notebook, code)
    text = json.dumps([one["content"] for one in messages if one["msg_type"] != "execute_input"])
    assert "steal" not in text
    assert "hidden tail" not in text
    picture, table, *rest = bundles(messages)
    assert set(picture) == {"image/png", "text/plain"}
    assert table["text/html"] == "<table><tr><td>7</td></tr></table>"
    assert [set(one) for one in rest] == [{"text/plain"}] * 3
    assert {"name": "stdout", "text": "42\n"} in [one["content"] for one in messages]
    reasons = {(one["reason"], one["detail"]["mime"]) for one in refusals(stand, 3)}
    assert {("mime_type", "image/svg+xml"), ("mime_type", "application/javascript")} <= reasons
    assert _wait(lambda: stand.ledger.events(kind="output.cleaned"))
    end = _wait(
        lambda: [e for e in stand.ledger.events(kind="cell.execute", outcome="ok") if e["detail"]["outputs_refused"]]
    )
    assert end[0]["detail"]["outputs_refused"] == 3


def test_a_widget_and_its_comms_become_one_line_of_text(stand: Any, notebook: Any) -> None:
    code = (
        "from comm import create_comm\n"
        "c = create_comm(target_name='jupyter.widget', data={'state': {}})\n"
        "[c.send({'value': n}) for n in range(50)]\n"
        "view = {'application/vnd.jupyter.widget-view+json': {'model_id': c.comm_id}, 'text/plain': 'HBox()'}\n"
        "display(view, raw=True)"
    )
    messages = shown(notebook, code)
    assert not [one for one in messages if one["msg_type"].startswith("comm")]
    (data,) = bundles(messages)
    assert data["text/plain"].startswith("HBox()\n[enclave] Shown as text")
    found = {(one["reason"], one["detail"]["mime"]) for one in refusals(stand, 2)}
    assert ("comm", "comm_open") in found
    assert len(refusals(stand, 2)) <= 4  # fifty messages, each rule and type once


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_a_cell_is_warned_then_cut_and_the_next_one_shows_again(stand: Any, notebook: Any) -> None:
    _, text = notebook.run("for n in range(5): print('x' * 200_000, flush=True)\nprint('y' * 200_000)\nprint('end')")
    assert "80 % of what this cell may show is used" in text
    assert "Rule cell_budget: the bytes" in text
    assert "end" not in text
    assert "Left for this cell" in text
    assert notebook.run("print(7)")[1] == "7\n"
    reasons = [(one["reason"], one["detail"]["measure"]) for one in refusals(stand, 1)]
    assert reasons == [("cell_budget", "bytes")]
    assert _wait(lambda: stand.ledger.events(kind="output.warned"))


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_pictures_and_rows_have_budgets_of_their_own(stand: Any, notebook: Any) -> None:
    notebook.run(PICTURE)
    data = bundles(shown(notebook, "for _ in range(4): display(Image(PNG))"))
    assert [("image/png" in one) for one in data] == [True, True, False]
    assert "the pictures that this cell may show are spent" in data[2]["text/plain"]
    _, text = notebook.run("for n in range(30): print('\\n' * 60, flush=True)")
    assert "the rows that this cell may show are spent" in text
    assert {one["detail"]["measure"] for one in refusals(stand, 2)} == {"images", "rows"}


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_the_hours_budget_holds_over_a_restart_and_a_second_kernel_and_then_freezes(
    stand: Any, notebook: Any, notebook_on: Any
) -> None:
    for _ in range(2):
        notebook.run("print('x' * 900_000)")
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=20)
    other = notebook_on(stand.service_socket())
    try:
        for _ in range(3):
            text = other.run("print('x' * 900_000)")[1]
            if "hour_budget" in text:
                break
        assert "Rule hour_budget: the bytes that this hour may show are spent" in text
        assert "for this hour" in text
        assert "Rule hour_budget" in notebook.run("print('x' * 900_000)")[1]
        assert notebook.run("6 * 7")[1] == "42"  # small outputs still fit
        for _ in range(3):
            reply, _ = other.run("print('x' * 900_000)")
        assert _wait(lambda: stand.ledger.events(kind="kernel.freeze", outcome="ok"))
        reply, text = other.run("print(1)")
        if reply["status"] == "ok":
            reply, text = other.run("print(1)")
        assert reply["ename"] == "KernelFrozen"
        assert "display_budget" in text
    finally:
        other.close()
    (event,) = stand.ledger.events(kind="kernel.freeze", outcome="ok")
    assert event["reason"] == "display_budget"


@pytest.mark.parametrize("launcher_settings", [SMALL + '\n[launcher.display_of.demo]\nmime_types = ["text/plain"]\n'])
def test_a_project_has_a_list_of_its_own(stand: Any, notebook: Any) -> None:
    (data,) = bundles(shown(notebook, "from IPython.display import HTML\nHTML('<b>x</b>')"))
    assert set(data) == {"text/plain"}
    assert "Shown as text" in data["text/plain"]


def test_budgets_survive_a_restart_of_the_launcher(tmp_path: Path) -> None:
    from enclave.core.errors import IntegrityError
    from enclave.runtime.clock import SystemClock
    from enclave.runtime.log import Log
    from enclave.sandbox.display_budgets import DisplayBudgets
    from enclave.sandbox.tap.amounts import NOTHING, Amount
    from enclave.sandbox.tap.policy import DisplayPolicy

    path = tmp_path / "display.json"

    def begin() -> DisplayBudgets:
        return DisplayBudgets(path, default=DisplayPolicy(), changes={}, clock=SystemClock(), log=Log("test"))

    first = begin()
    first.draw("rosa", "demo", need=Amount(1 << 20, 3, 5), spare=NOTHING)
    first.refused("rosa", "demo")
    first.close()
    second = begin()
    assert second.left("rosa", "demo")["hour"] == [1023 << 20, 997, 1_999_995]
    assert second.left("rita", "demo")["hour"] == [1024 << 20, 1000, 2_000_000]
    second.close()
    path.write_text("{")
    with pytest.raises(IntegrityError):
        begin()


def test_the_end_of_a_lease_is_told_before_the_kernel_ends_and_to_every_cell_after(stand: Any, notebook: Any) -> None:
    client = notebook.client
    sent = notebook.begin("import time; time.sleep(600)")
    stand.client.call(launcher.EndKernel(kernel=notebook.kernel, reason="grant_revoked"))
    order = []
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != sent:
            continue
        if message["msg_type"] == "stream":
            order.append("told")
            text = message["content"]["text"]
        elif message["msg_type"] == "error":
            order.append("ended")
            break
    assert order == ["told", "ended"]
    for part in (
        "the grant to a dataset that it had open was revoked (grant_revoked)",
        "Since 20",
        "Ask a data steward",
    ):
        assert part in text
    notebook.reply(sent)
    reply, _ = notebook.run("1")
    assert reply["ename"] == "KernelEnded"
    assert "grant_revoked" in reply["evalue"]


@pytest.mark.parametrize("launcher_settings", [SMALL])
def test_a_kernel_can_ask_how_much_output_is_left_and_cannot_change_it(stand: Any, notebook: Any) -> None:
    notebook.run("import json, enclave_kernel as enclave")

    def left() -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = json.loads(notebook.run("print(json.dumps(enclave.output_budget()))")[1])
        return found

    before = left()
    assert before["cell"] == {"bytes": 1 << 20, "images": 2, "rows": 1000}
    assert set(before) == {"cell", "hour", "day"}
    assert before["day"]["rows"] <= 100_000
    for _ in range(3):
        notebook.run("print('x' * 900_000)")
    after = _wait(lambda: (now := left())["hour"]["bytes"] < before["hour"]["bytes"] - 500_000 and now, seconds=30)
    assert after["day"]["bytes"] < before["day"]["bytes"]
    for attempt in (
        "open('/run/enclave/output-budget.json', 'w')",
        "__import__('os').unlink('/run/enclave/output-budget.json')",
    ):
        assert "Error" in notebook.run(attempt)[1]
    assert left()["cell"] == before["cell"]
