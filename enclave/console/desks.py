"""Start page, reports and audit desk."""

from __future__ import annotations

from typing import Final

from enclave.audit.copies import CopySettings, off_host
from enclave.console.pages import Page
from enclave.core.errors import EnclaveError, InvalidError
from enclave.runtime.clock import SystemClock
from enclave.wire.messages import airlock, audit, reports

# What a person can do here, by role: where, what, in which words.
OFFERS: Final = (
    ("researcher", "egress", "Your results", "See where your requests stand, and download what was released."),
    ("output_checker", "egress", "Egress desk", "Look at results that want to leave, and vote on them."),
    ("data_steward", "releases", "Release desk", "Ask for the release of a dataset version to a project."),
    ("honest_broker", "releases", "Release desk", "Approve or refuse releases."),
    ("data_steward", "intake", "Intake desk", "See where batches stand, and judge the samples of others' batches."),
    ("honest_broker", "intake", "Intake desk", "Look at the sample of a batch, and say whether it is clean."),
    ("expert", "datasets", "Catalogue", "See the versions and determinations that carry your name."),
    ("auditor", "audit", "Audit desk", "Follow every cell, read, refusal and sign-in."),
    ("auditor", "audit/alerts", "Alerts", "See what the rules found, and say what it was."),
    ("auditor", "audit/reviews", "Reviews", "Sign off the weeks of the ledger."),
    ("operator", "audit/drills", "Drills", "Play an incident, and see who hears of it."),
    ("operator", "reports", "Reports", "See whether scheduled reports ran."),
)
# Report of a run: it may draw with its own styles and embedded pictures, and nothing else.
REPORT_POLICY: Final = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
VIEWS: Final = (
    (
        "cell_executions",
        "Cells",
        (
            "SELECT started, actor, project, status, code, duration_ms, datasets, reason, kernel, cell "
            "FROM cell_executions ORDER BY seq DESC"
        ),
    ),
    (
        "dataset_access",
        "Reads",
        (
            "SELECT time, actor, project, dataset, version, kind, outcome, reason, objects, cell "
            "FROM dataset_access ORDER BY seq DESC"
        ),
    ),
    (
        "denials",
        "Refusals",
        "SELECT time, actor, kind, reason, project, dataset, version, kernel, detail FROM denials ORDER BY seq DESC",
    ),
    ("logins", "Sign-ins", "SELECT time, actor, action, outcome, reason, source FROM logins ORDER BY seq DESC"),
    (
        "egress_history",
        "Egress",
        "SELECT time, actor, action, outcome, reason, project, request, detail FROM egress_history ORDER BY seq DESC",
    ),
    (
        "admin_actions",
        "Administration",
        (
            "SELECT time, actor, kind, outcome, reason, project, dataset, version, ticket, detail "
            "FROM admin_actions ORDER BY seq DESC"
        ),
    ),
    (
        "events",
        "Everything",
        "SELECT seq, time, kind, actor, project, dataset, outcome, reason, cell, detail FROM events ORDER BY seq DESC",
    ),
)
SHOWN_ROWS: Final = 200


class Start(Page):
    """What this person may do here: lists only, so that a link from anywhere may lead to it."""

    FROM_ANYWHERE = True

    async def get(self) -> None:
        """The offers of their roles; how many requests wait for them, if the airlock answers."""
        offers = [offer for offer in OFFERS if offer[0] in self.actor.roles]
        waiting, ready, away = 0, 0, ""
        if self.has_role("researcher", "output_checker"):
            try:
                reply = await self.ask("airlockd", airlock.ListRequests(token=self.token))
                waiting = sum("vote" in r.may for r in reply.requests)
                ready = sum("deliver" in r.may for r in reply.requests)
            except EnclaveError as error:
                away = error.message
        self.show("start.html", offers=offers, waiting=waiting, ready=ready, away=away)


class Reports(Page):
    """Runs of scheduled reports."""

    async def get(self) -> None:
        """The list; it renews itself while something runs."""
        reply = await self.ask("reportd", reports.ListRuns(token=self.token))
        running = any(run.state in ("queued", "running") for run in reply.runs)
        fragment = self.request.headers.get("HX-Request") == "true"
        template = "reports_rows.html" if fragment else "reports.html"
        self.show(template, runs=reply.runs, running=running, entries=reply.entries)


class RunReport(Page):
    """The form of a data steward or honest broker."""

    async def post(self) -> None:
        """Queues a schedule entry now."""
        entry = self.text_field("entry").strip()
        if not entry:
            raise InvalidError("report: wanted the name of a schedule entry, got none; go back and fill it in")
        await self.ask("reportd", reports.RunNow(token=self.token, entry=entry))
        self.go("reports", done="queued")


class ReportFrame(Page):
    """One finished report inside a frame that can start nothing."""

    async def get(self, run_id: str) -> None:
        """The page around the frame."""
        reply = await self.ask("reportd", reports.ListRuns(token=self.token))
        run = next((run for run in reply.runs if run.id == run_id), None)
        self.show("report_frame.html", run=run, run_id=run_id)


class ReportPage(Page):
    """The report itself: only for the frame, under a policy without scripts."""

    async def get(self, run_id: str) -> None:
        """Its HTML."""
        _, content = await self.gateway.ask_for_file("reportd", reports.ShowPage(token=self.token, id=run_id))
        self.set_header("Content-Security-Policy", REPORT_POLICY)
        self.set_header("X-Frame-Options", "SAMEORIGIN")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(content)


class Audit(Page):
    """The ledger as an auditor reads it."""

    async def get(self) -> None:
        """One of the views, or the answer to a query of one's own (``?sql=``)."""
        name = self.get_query_argument("view", VIEWS[0][0])
        sql = self.get_query_argument("sql", "").strip()
        chosen = next((view for view in VIEWS if view[0] == name), VIEWS[0])
        question = sql or chosen[2]
        problem, rows = "", None
        try:
            rows = await self.ask("auditd", audit.Query(token=self.token, sql=question, limit=SHOWN_ROWS))
        except InvalidError as error:
            problem = error.message
        copies = (await self.ask("auditd", audit.ShowCopies())).copies
        places = self.gateway.home.settings(CopySettings, section="copies")
        self.show(
            "audit.html",
            views=VIEWS,
            chosen="" if sql else chosen[0],
            question=question,
            answer=rows,
            problem=problem,
            shown=SHOWN_ROWS,
            elsewhere=off_host(copies, settings=places, at=SystemClock().now()),
        )
