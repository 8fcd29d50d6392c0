"""A person with a browser: types an id at the provider, starts the server, sees JupyterLab."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PATIENCE_MS, opened_browser
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def page() -> Iterator[Page]:
    with opened_browser() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        opened.set_default_timeout(PATIENCE_MS)
        yield opened


def test_a_researcher_signs_in_starts_a_server_and_sees_jupyterlab(door: Any, page: Page) -> None:
    refused: list[str] = []
    elsewhere: list[str] = []
    complaints: list[str] = []
    page.on("response", lambda r: refused.append(f"{r.request.method} {r.url}") if r.status == 403 else None)
    page.on(
        "request", lambda r: elsewhere.append(r.url) if "://localhost" not in r.url and r.url[:4] == "http" else None
    )
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(door.settings.url)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Your id").fill("rosa")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Start my server").click()
    expect(page.locator("#jp-top-panel")).to_be_visible(timeout=90_000)
    expect(page.get_by_text("first.py")).to_be_visible()
    expect(page.get_by_text("Python (enclave)").first).to_be_visible()
    expect(page.get_by_text("Terminal", exact=True)).to_have_count(0)
    page.get_by_text("first.py").dblclick()
    expect(page.locator(".cm-content")).to_contain_text("print(1)")
    assert elsewhere == []
    blocked = [line for line in complaints if "Content Security Policy" in line]
    assert len(blocked) <= 1, blocked  # JupyterLab's page takes ?token= out of its address; no token is ever in one
    assert refused == []


def test_a_notebook_says_whose_project_it_is_and_that_cells_are_recorded(door: Any, page: Page) -> None:
    if not (Path(sys.prefix) / "share" / "jupyter" / "labextensions" / "enclave-lab").is_dir():
        pytest.skip("the lab extension is not built; run make setup")
    page.goto(f"{door.settings.url}/hub/oauth_login")
    page.get_by_role("button", name="rosa").click()
    page.wait_for_url("**/hub/home")
    page.goto(f"{door.settings.url}/hub/spawn/rosa")
    expect(page.locator("#jp-top-panel")).to_be_visible(timeout=90_000)
    page.goto(f"{door.settings.url}/user/rosa/lab/tree/demo/first_look.ipynb")
    expect(page.get_by_role("note")).to_contain_text("Project demo · Each cell is recorded before it runs")
    expect(page.get_by_text("Ledger: no cell yet")).to_be_visible()


def test_a_person_without_a_second_factor_reads_why_the_door_stays_shut(door: Any, page: Page) -> None:
    page.goto(f"{door.settings.url}/hub/login")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="nomfa").click()
    expect(page.get_by_text("wanted a second factor")).to_be_visible()
