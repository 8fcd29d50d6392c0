"""The auditors' desk beyond the ledger itself: alerts, weeks to sign off, drills, lineage."""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from enclave.audit.alerts.model import STATES, VERDICTS
from enclave.audit.alerts.rules import known_rules
from enclave.audit.lineage_page import summary_of, svg_of, table_rows
from enclave.audit.lineage_rows import lineage
from enclave.console.pages import Page
from enclave.core.errors import InvalidError, NotFoundError
from enclave.wire.messages import audit, watch

UNRESOLVED: Final = "unresolved"


class Alerts(Page):
    """What the rules found."""

    async def get(self) -> None:
        """The list, narrowed by state and rule; without a word those that nobody has closed."""
        state = self.get_query_argument("state", UNRESOLVED)
        rule = self.get_query_argument("rule", "")
        drills = self.get_query_argument("drills", "") == "yes"
        message = watch.ListAlerts(
            token=self.token,
            state=state if state in STATES else "",
            rule=rule if rule in known_rules() else "",
            drills=drills,
        )
        found = (await self.ask("watchd", message)).alerts
        if state == UNRESOLVED:
            found = tuple(alert for alert in found if alert.state != "resolved")
        self.show(
            "alerts.html",
            alerts=found,
            state=state,
            rule=rule,
            drills=drills,
            rules=known_rules().values(),
            states=(UNRESOLVED, *STATES, "all"),
            verdicts=VERDICTS,
        )


class AcknowledgeAlert(Page):
    """The button that takes an alert up."""

    async def post(self, alert_id: str) -> None:
        """Takes it up."""
        await self.ask("watchd", watch.AcknowledgeAlert(token=self.token, id=alert_id))
        self.go("audit", "alerts", done="taken_up")


class ResolveAlert(Page):
    """The form that closes an alert."""

    async def post(self, alert_id: str) -> None:
        """Closes it."""
        message = watch.ResolveAlert(
            token=self.token, id=alert_id, verdict=self.text_field("verdict"), reason=self.text_field("reason")
        )
        await self.ask("watchd", message)
        self.go("audit", "alerts", done="resolved")


class Reviews(Page):
    """Weeks that are over, and who signed them."""

    async def get(self) -> None:
        """The list, with a summary of one week."""
        period = self.get_query_argument("period", "")
        found = await self.ask("watchd", watch.ListReviews(token=self.token, period=period))
        self.show("reviews.html", weeks=found.weeks, summary=sorted(found.summary.items()), period=period)


class SignReview(Page):
    """The form that signs a week."""

    async def post(self) -> None:
        """Signs it."""
        message = watch.SignReview(token=self.token, period=self.text_field("period"), note=self.text_field("note"))
        await self.ask("watchd", message)
        self.go("audit", "reviews", done="signed")


class Drills(Page):
    """Planted incidents: what fired, when, who got it."""

    async def get(self) -> None:
        """The newest drill; it renews itself for a minute."""
        try:
            found = await self.ask("watchd", watch.ShowDrill(token=self.token))
        except NotFoundError:
            found = None
        running = found is not None and not found.complete and found.running_s < 60
        fragment = self.request.headers.get("HX-Request") == "true"
        self.show("drills_rows.html" if fragment else "drills.html", drill=found, running=running)


class RunDrill(Page):
    """The button that plays one."""

    async def post(self) -> None:
        """Plays all rules."""
        await self.ask("watchd", watch.RunDrill(token=self.token))
        self.go("audit", "drills", done="drilled")


class Lineage(Page):
    """What a file depends on, what depends on a version: one picture, and the same as tables."""

    async def get(self) -> None:
        """The form, and with ``?of=`` the graph."""
        subject = self.get_query_argument("of", "").strip()
        problem, graph = "", None
        if subject:
            try:
                graph = await asyncio.to_thread(lineage, subject, functools.partial(_ask_ledger, self))
            except (InvalidError, NotFoundError) as error:
                problem = error.message
        self.show(
            "lineage.html",
            subject=subject,
            problem=problem,
            picture=svg_of(graph) if graph else "",
            summary=summary_of(graph) if graph else "",
            parts_of_it=table_rows(graph) if graph else (),
        )


def _ask_ledger(page: Page, sql: str, limit: int) -> audit.Rows:
    rows: audit.Rows = page.gateway.ask_here("auditd", audit.Query(token=page.token, sql=sql, limit=limit))
    return rows
