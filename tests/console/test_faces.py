"""Heads from the front, before and after: their expert sees them while engaged, an honest broker too, nobody else."""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import opened_browser
from clocks import ShiftedClock
from optional import need
from PIL import Image
from playwright.sync_api import Page, expect
from review_batch import ID, keep_batch
from statements import CONDITIONS, EVIDENCE, TERMS

from enclave.core.clock import format_time
from enclave.core.errors import DeniedError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName
from enclave.deid.job import SeenHead
from enclave.determination.certificate import Expert, ReleaseTerms, certificate_text
from enclave.determination.drafting import DraftConfig, draft_certificate
from enclave.intake.daemon import IntakeDaemon
from enclave.keys.files import new_ed25519
from enclave.policy.model import Actor
from enclave.registry.daemon import RegistryDaemon
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log
from enclave.wire.client import call_once
from enclave.wire.messages import registry as m
from enclave.wire.messages.intake import LookAtItem, ReviewImage

pytestmark = pytest.mark.row("S13.4")

ROOT = "ab" * 32  # of the version that the batch became
SERIES, OTHER_SERIES = "1.2.826.0.1.7.1", "1.2.826.0.1.7.2"
NUMBERS = {"brain_cc": 1400.0, "brain_lost": 0.0001, "face_gone": 0.97, "removed_share": 0.08}
ROLES = {"edgar": {"expert"}, "ernst": {"expert"}, "boris": {"honest_broker"}, "stefan": {"data_steward"}}


def drawn() -> SeenHead:
    before = np.zeros((130, 100), np.uint8)
    before[20:110, 20:80] = 200
    after = before.copy()
    after[65:, :] = 0
    return SeenHead(before, after, NUMBERS)


def text_of(*, expert: str, version: int, root: str, number: int) -> str:
    person = Expert(principal=expert, name=expert.title(), qualification="Q", independence="I", engagement="E-1")
    stack = {"modality": "CT", "images": 108, **NUMBERS}
    faces = {"removed": 216, "stripped": 0, "not_recognisable": {}, "held": {"moved": 2}, "stacks": [stack, stack]}
    shown = [{"series": one, **NUMBERS} for one in (SERIES, OTHER_SERIES)]
    evidence = {
        **EVIDENCE,
        "deidentification": {**EVIDENCE["deidentification"], "faces": faces},
        "quality": {**EVIDENCE["quality"], "faces": {"measured": 2, "shown": shown}},
    }
    terms = ReleaseTerms(model="enclave", recipients=("lung",), **TERMS)
    certificate = draft_certificate(
        DraftConfig(expert=person, release=terms, conditions=CONDITIONS),
        {},
        certificate_id=f"{number:032x}",
        name=VersionName("demo-ct", version),
        content_root=root,
        steward="stella",
        evidence=evidence,
        at=SystemClock().now(),
    )
    return certificate_text(certificate).decode()


@dataclass
class Desk:
    """The console, a real registry with two versions, a real intake that made the first of them."""

    console: Any
    auditd: Any
    clock: ShiftedClock
    resolve: Any
    page: str = f"determinations/{1:032x}/faces"
    intake: IntakeDaemon | None = None

    def restart(self) -> None:
        if self.intake is not None:
            self.intake.close()
        home = self.console.airlock.home
        self.intake = IntakeDaemon(home, resolve=self.resolve, log=Log("intaked"), clock=self.clock)
        self.intake.start()

    def ask(self, message: Any, *, daemon: str = "registryd") -> Any:
        return call_once(self.console.airlock.home.socket(daemon), message, timeout_s=30)

    def look(self, person: str, item: str = f"{SERIES}/frontal") -> Any:
        return self.ask(LookAtItem(token=f"token-{person}", id=ID, image=item), daemon="intaked")

    def told(self) -> list[tuple[str, str, str | None]]:
        events = self.auditd.events(kind="intake.look")
        return [(event["actor"], event["outcome"], event.get("reason")) for event in events]


@pytest.fixture
def heads(request: pytest.FixtureRequest) -> dict[str, SeenHead]:
    made = getattr(request, "param", {SERIES: drawn, OTHER_SERIES: drawn})
    return {series: make() for series, make in made.items()}


@pytest.fixture
def desk(
    console: Any, auditd: Any, heads: dict[str, SeenHead], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    monkeypatch.setattr("enclave.intake.pipeline._PAUSES_S", ())
    home = console.airlock.home
    console.roles.update(ROLES)

    def resolve(token: str) -> Actor:
        name = token.removeprefix("token-")
        if name == token or name not in console.roles:
            raise DeniedError("token: wanted a known one, got another", code="token_invalid")
        return Actor(name, frozenset(console.roles[name]))

    console.servers["registryd"].close()
    new_ed25519(home.key_file("registry-sign"))
    registry = RegistryDaemon(home, resolve=resolve, log=Log("registryd"))
    registry.start()
    made = Desk(console, auditd, ShiftedClock(), resolve)
    for version, root, expert in ((1, ROOT, "edgar"), (2, "cd" * 32, "ernst")):
        candidate = {"dataset": "demo-ct", "version": version, "content_root": root, "summary": {}}
        made.ask(m.RegisterCandidate(**candidate, steward="stella", review="optional"))
        text = text_of(expert=expert, version=version, root=root, number=version)
        made.ask(m.DraftDetermination(token="token-stella", text=text))
    keep_batch(home, tmp_path / "work", heads=heads, received=format_time(SystemClock().now()))
    made.restart()
    yield made
    made.intake.close()
    registry.close()
    for name in ROLES:
        del console.roles[name]


def begin(desk: Desk, *, person: str = "edgar", number: int = 1) -> None:
    desk.ask(m.BeginAssessment(token=f"token-{person}", id=f"{number:032x}"))


def refusal(desk: Desk, person: str) -> str:
    """Why ``person`` is not shown the head; the ledger says the same."""
    with pytest.raises(DeniedError) as refused:
        desk.look(person)
    assert desk.told()[-1] == (person, "refused", refused.value.code)
    return refused.value.code


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def pictures(page: str) -> list[np.ndarray[Any, Any]]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


@pytest.mark.parametrize("person", ["edgar", "hana"])
def test_expert_and_honest_broker_see_each_head_before_and_after_with_its_numbers(desk: Desk, person: str) -> None:
    begin(desk)
    browser = desk.console.browser(person)
    assert f"{desk.page}" in browser.open(f"determinations/{1:032x}")[2]
    status, headers, page = browser.open(desk.page)
    assert status == 200
    assert "img-src 'self' data:;" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert [picture.shape for picture in pictures(page)] == [(390, 604)] * 2
    for said in (SERIES, OTHER_SERIES, "1,400.00", "0.14", "1.0e-04", "97.0%", "8.0%", "do not keep"):
        assert said in page, said
    assert desk.told() == [(person, "ok", None)] * 2


def test_an_expert_sees_nothing_before_the_assessment_begins_and_nothing_when_it_is_over(desk: Desk) -> None:
    browser = desk.console.browser("edgar")
    status, _, page = browser.open(desk.page)
    assert (status, pictures(page)) == (403, [])
    begin(desk)
    assert browser.open(desk.page)[0] == 200
    desk.clock.shift_s = timedelta(days=31).total_seconds()
    status, _, page = browser.open(desk.page)
    assert (status, pictures(page)) == (403, [])
    refused = [reason for _, outcome, reason in desk.told() if outcome == "refused"]
    assert refused == ["no_engagement", "engagement_over"]


@pytest.mark.row("S10.4")
def test_a_clock_set_back_shows_no_head_again_and_nobody_another(desk: Desk) -> None:
    begin(desk)
    assert desk.look("edgar").kind == desk.look("boris").kind == "picture"
    desk.clock.shift_s = timedelta(days=31).total_seconds()
    assert refusal(desk, "edgar") == "engagement_over"
    desk.clock.shift_s = timedelta(days=29).total_seconds()
    assert refusal(desk, "edgar") == "engagement_over"
    assert refusal(desk, "boris") == "clock_step"
    assert refusal(desk, "stefan") == "role"
    with pytest.raises(DeniedError) as judged:
        desk.ask(ReviewImage(token="token-boris", id=ID, image=f"{SERIES}/frontal", clean=True), daemon="intaked")
    (event,) = desk.auditd.events(kind="intake.review", outcome="refused")
    assert event["reason"] == judged.value.code == "clock_step"
    desk.clock.shift_s = timedelta(days=31).total_seconds()
    assert desk.look("boris").kind == "picture"
    assert refusal(desk, "edgar") == "engagement_over"


def test_a_head_is_shown_by_the_time_of_a_ledger_that_is_ahead_of_a_restarted_intake(desk: Desk) -> None:
    begin(desk)
    desk.clock.shift_s = -60.0
    desk.restart()
    assert refusal(desk, "edgar") == "clock_step"


def test_the_expert_of_another_version_sees_nothing_of_this_one(desk: Desk) -> None:
    begin(desk)
    begin(desk, person="ernst", number=2)
    status, _, page = desk.console.browser("ernst").open(desk.page)
    assert (status, pictures(page)) == (403, [])
    with pytest.raises(DeniedError) as refused:
        desk.look("ernst")
    assert refused.value.code == "no_engagement"
    assert desk.told() == [("ernst", "refused", "no_engagement")] * 2
    assert desk.console.browser("ernst").open(f"determinations/{2:032x}/faces")[0] == 404


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        *(("rosa", "role"), ("olga", "role"), ("ada", "role"), ("otto", "role"), ("mallory", "role")),
        *(("stefan", "role"), ("stella", "reviews_own_batch"), ("nobody", "token_invalid")),
    ],
)
def test_nobody_else_sees_a_head_and_each_refusal_is_in_the_ledger(desk: Desk, person: str, reason: str) -> None:
    begin(desk)
    with pytest.raises(DeniedError) as refused:
        desk.look(person)
    assert refused.value.code == reason
    actor = "unknown" if person == "nobody" else person
    assert desk.told() == [(actor, "refused", reason)]
    if person in ("rosa", "stefan"):
        status, _, page = desk.console.browser(person).open(desk.page)
        assert (status, pictures(page)) == (403, [])
        assert desk.page not in desk.console.browser(person).open(f"determinations/{1:032x}")[2]


def test_a_data_steward_is_neither_offered_nor_allowed_to_judge_a_head(desk: Desk) -> None:
    assert "frontal" not in desk.console.browser("stefan").open("intake")[2]
    assert f"{SERIES}%2Ffrontal" in desk.console.browser("hana").open("intake")[2]
    with pytest.raises(DeniedError) as refused:
        desk.ask(
            ReviewImage(token="token-stefan", id=ID, image=f"{SERIES}/frontal", clean=True, reason=""), daemon="intaked"
        )
    assert refused.value.code == "role"


def test_a_judged_head_is_still_seen_until_it_is_too_old_and_its_end_is_in_the_ledger(desk: Desk) -> None:
    begin(desk)
    desk.ask(ReviewImage(token="token-hana", id=ID, image=f"{SERIES}/frontal", clean=True), daemon="intaked")
    assert desk.look("edgar").kind == desk.look("boris").kind == "picture"
    with pytest.raises(DeniedError):
        desk.ask(ReviewImage(token="token-boris", id=ID, image=f"{SERIES}/frontal", clean=True), daemon="intaked")
    desk.clock.shift_s = timedelta(days=89).total_seconds()
    desk.restart()
    assert desk.look("boris").kind == "picture"
    desk.clock.shift_s = timedelta(days=91).total_seconds()
    desk.restart()
    wait_until(lambda: desk.auditd.events(kind="intake.forget") != [])
    wait_until(lambda: "not kept any more" in desk.console.browser("boris").open(desk.page)[2])
    (event,) = desk.auditd.events(kind="intake.forget")
    assert (event["objects"], event["actor"], event["dataset"]) == ([f"{SERIES}/frontal"], "service:intake", "demo-ct")
    with pytest.raises(DeniedError) as gone:
        desk.look("boris")
    assert gone.value.code == "not_in_sample"
    assert desk.look("boris", f"{OTHER_SERIES}/frontal").kind == "picture"  # nobody has judged it
    page = desk.console.browser("boris").open(desk.page)[2]
    assert "not kept any more" in page
    assert len(pictures(page)) == 1


def test_without_the_registry_an_expert_sees_nothing_and_that_is_in_the_ledger(desk: Desk) -> None:
    begin(desk)
    socket = desk.console.airlock.home.socket("registryd")
    socket.rename(socket.with_name("away"))
    with pytest.raises(UnavailableError):
        desk.look("edgar")
    socket.with_name("away").rename(socket)
    assert desk.told() == [("edgar", "refused", "unavailable")]


def test_no_page_of_a_determination_holds_a_face(desk: Desk) -> None:
    begin(desk)
    browser = desk.console.browser("edgar")
    report = browser.open(f"determinations/{1:032x}/report")[2]
    assert "data:image" not in report
    assert "What was measured on each series" in report
    assert 'href="faces"' in report
    with pytest.raises(NotFoundError):
        desk.ask(LookAtItem(token="token-edgar", id="c" * 32, image=f"{SERIES}/frontal"), daemon="intaked")


@pytest.fixture
def open_as(desk: Desk) -> Iterator[Any]:
    """A page signed in as a person; what the browser complains about is collected in ``open_as.complaints``."""
    with opened_browser() as browser:

        def page_for(person: str) -> Page:
            context = browser.new_context(base_url=f"http://127.0.0.1:{desk.console.port}/services/console/")
            value = desk.console.browser(person).cookies["service-console"]
            context.add_cookies(
                [{"name": "service-console", "value": value, "domain": "127.0.0.1", "path": "/services/console/"}]
            )
            page = context.new_page()
            page.on("console", lambda said: page_for.complaints.append(said.text) if said.type == "error" else None)
            return page

        page_for.complaints = []
        yield page_for


def real_head() -> SeenHead:
    """The CT head of Debian's, from the front before and after."""
    from benchmarks.pixels.heads import ct_head
    from enclave.deid.faces.ct import find_face_ct

    found = find_face_ct(ct_head(Path(need("heads"))).volume)
    assert (found.held, found.views is None) == ("", False)
    return SeenHead(*found.views, NUMBERS)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [{SERIES: real_head}], indirect=True, ids=["a real head"])
def test_expert_and_honest_broker_look_at_a_real_head_in_a_browser(desk: Desk, open_as: Any) -> None:
    begin(desk)
    for person in ("edgar", "hana"):
        page = open_as(person)
        page.goto(f"determinations/{1:032x}/report")
        page.get_by_role("link", name="faces").click()
        picture = page.get_by_alt_text("Head of series 1, before and after")
        expect(picture).to_be_visible()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") == 604
        expect(page.get_by_text("do not keep or pass on")).to_be_visible()
        expect(page.get_by_text("This head is not kept any more.")).to_be_visible()  # the second was never measured
    assert [text for text in open_as.complaints if "favicon" not in text] == []
    assert [(who, outcome) for who, outcome, _ in desk.told() if outcome == "ok"] == [("edgar", "ok"), ("hana", "ok")]
