"""One person after the other walks through the enclave with a real browser, as the screens say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import PATIENCE_MS, opened_browser
from optional import need
from playwright.sync_api import expect
from ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _enclave(home: Path, *words: str) -> str:
    command = [sys.executable, "-m", "enclave.cli.main", "demo", *words, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("chromium")
    home = tmp_path_factory.mktemp("browser") / "home"
    port = free_ports(6)
    try:
        _enclave(home, "up", "--port", str(port))
        yield f"http://localhost:{port}"
    finally:
        _enclave(home, "down")


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Any]:
    del url  # the enclave runs before the browser opens
    with opened_browser() as found:
        yield found


class Person:
    """One person's browser window."""

    def __init__(self, browser: Any, url: str, name: str, shots: Path) -> None:
        self.expect = expect
        self.url = url
        self.name = name
        self._shots = shots
        self.page = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True).new_page()
        self.page.set_default_timeout(PATIENCE_MS)

    def sign_in(self) -> Person:
        self.page.goto(self.url)
        self.page.get_by_role("link", name="Sign in").or_(self.page.get_by_role("button", name="Sign in")).first.click()
        self.page.locator("input[name=sub]").fill(self.name)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(re.compile(re.escape(self.url) + "/(hub/(home|oauth_callback)|services/console)"))
        return self

    def shot(self, name: str) -> None:
        self.page.screenshot(path=self._shots / f"{name}.png")


@pytest.fixture
def person(browser: Any, url: str, tmp_path: Path) -> Any:
    shots = Path(os.environ.get("ENCLAVE_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    return lambda name: Person(browser, url, name, shots).sign_in()


def test_a_researcher_gets_a_figure_out_after_two_people_looked_at_it(person: Any, tmp_path: Path) -> None:
    rosa = person("rosa")
    rosa.expect(rosa.page.get_by_role("heading", name="Signed in as rosa")).to_be_visible()
    rosa.shot("home")
    rosa.page.get_by_role("button", name="Start my server").click()
    _run_notebook(rosa)
    for checker in ("olga", "omar"):
        _approve(person(checker))
    _download_once(rosa, tmp_path)
    _look_at_the_ledger(person("ada"))
    _read_the_report(person("stella"))


def _run_notebook(rosa: Person) -> None:
    page = rosa.page
    page.wait_for_url("**/user/rosa/lab**")
    page.locator(".jp-DirListing-item", has_text="demo").dblclick()
    page.locator(".jp-DirListing-item", has_text="first_look").dblclick()
    rosa.expect(page.get_by_text("Each cell is recorded before it runs")).to_be_visible()
    rosa.expect(page.get_by_text("Python (enclave) | Idle")).to_be_visible()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    rosa.expect(
        page.get_by_text("your egress requests: 1").or_(page.get_by_text("awaiting_review")).first
    ).to_be_visible()
    rosa.expect(page.locator(".jp-OutputArea-output img").first).to_be_visible()
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0
    page.locator(".jp-OutputArea-output img").first.scroll_into_view_if_needed()
    rosa.shot("notebook")


def _approve(checker: Person) -> None:
    page = checker.page
    page.goto(f"{checker.url}/services/console/egress")
    checker.shot(f"egress-desk-{checker.name}")
    page.get_by_role("link", name=re.compile("Mean values")).click()
    page.get_by_role("button", name="Look at figure.png").click()
    page.locator(".look img").evaluate("image => image.decode()")
    checker.shot(f"egress-request-{checker.name}")
    page.get_by_role("radio", name=re.compile("Approve")).check()
    page.get_by_label("Reason").fill("A histogram over all series; nobody can be seen in it.")
    page.get_by_role("button", name="Cast the vote").click()
    checker.expect(page.get_by_role("heading", name="Votes")).to_be_visible()


def _download_once(rosa: Person, folder: Path) -> None:
    page = rosa.page
    page.goto(f"{rosa.url}/services/console/egress")
    page.get_by_role("link", name=re.compile("Mean values")).click()
    rosa.shot("egress-released")
    address = page.url
    with page.expect_download() as started:
        page.get_by_role("button", name=re.compile("Download")).click()
    package = folder / "package.zip"
    started.value.save_as(package)
    assert any(name.endswith("figure.png") for name in zipfile.ZipFile(package).namelist())
    page.goto(address)
    rosa.expect(page.get_by_role("button", name=re.compile("Download"))).to_have_count(0)


def _look_at_the_ledger(ada: Person) -> None:
    page = ada.page
    page.goto(f"{ada.url}/services/console/audit")
    ada.shot("audit-desk")
    ada.expect(page.get_by_text("rosa").first).to_be_visible()
    page.goto(f"{ada.url}/services/console/audit/lineage?of=demo-ct@1")
    ada.expect(page.get_by_role("group", name="Lineage of demo-ct@1")).to_be_visible()
    ada.shot("lineage")
    page.get_by_role("link", name=re.compile("^File ")).first.focus()
    page.keyboard.press("Enter")  # a box leads to its row, by keyboard as well
    ada.expect(page).to_have_url(re.compile("#row-file-"))
    page.goto(f"{ada.url}/services/console/audit/alerts")
    ada.expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
    ada.shot("alerts")


def _read_the_report(stella: Person) -> None:
    page = stella.page
    page.goto(f"{stella.url}/services/console/reports")
    page.get_by_label("Schedule entry").select_option("demo-validation")
    page.get_by_role("button", name="Run it now").click()
    page.get_by_role("link", name=re.compile("validation")).click(timeout=120_000)
    frame = page.frame_locator("iframe.report")
    stella.expect(frame.locator("img").first).to_be_visible()
    stella.shot("report")


def test_a_sign_in_without_a_second_factor_is_refused_in_plain_words(person: Any) -> None:
    nobody = person("nomfa")
    nobody.expect(nobody.page.get_by_text(re.compile("second factor", re.IGNORECASE)).first).to_be_visible()
    nobody.shot("refused-without-mfa")


def test_pages_of_other_roles_are_refused_to_a_researcher(person: Any) -> None:
    rosa = person("rosa")
    rosa.page.goto(f"{rosa.url}/services/console/audit")
    rosa.expect(rosa.page.get_by_role("heading", name="You may not do this")).to_be_visible()
    assert rosa.page.get_by_text("cell.execute").count() == 0
    rosa.shot("audit-desk-refused")
