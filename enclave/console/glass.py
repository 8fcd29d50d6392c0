"""Break-glass desk: who asked to learn who is behind pseudonyms, who agrees, and the alarms that this raises.

Originals are never on a page: a browser keeps, prints and shares what it shows. The requester gets them from the
command line, a few times within hours.
"""

from __future__ import annotations

from enclave.console.pages import Page
from enclave.core.errors import InvalidError
from enclave.wire.messages import vault as messages

MAX_SUBJECTS = 50
MAX_FIELD = 8192  # characters; fifty pseudonyms are far less
REQUESTERS = frozenset({"data_steward", "honest_broker"})
APPROVERS = frozenset({"data_steward", "honest_broker", "operator"})


class BreakGlass(Page):
    """All requests, the form for a new one, the alarms of whoever must see them."""

    async def get(self) -> None:
        """The page."""
        reply = await self.ask("vaultd", messages.ListBreakGlass(token=self.token))
        waiting = [r for r in reply.requests if r.state == "requested"]
        self.show(
            "break_glass.html",
            alarms=await self._alarms(),
            waiting=waiting,
            others=[r for r in reply.requests if r not in waiting],
            may_request=self.has_role(*REQUESTERS),
            may_approve={r.id for r in waiting if self._may_approve(r)},
            may_review=self._may_review(reply.requests),
            max_subjects=MAX_SUBJECTS,
        )

    async def _alarms(self) -> tuple[messages.Alarm, ...]:
        if not self.has_role("auditor", "data_steward"):
            return ()
        reply = await self.ask("vaultd", messages.ListAlarms(token=self.token))
        found: tuple[messages.Alarm, ...] = reply.alarms
        return found

    def _may_approve(self, request: messages.BreakGlass) -> bool:
        """Whether to offer it; the vault knows the projects and decides."""
        mine = self.actor.name in (request.requested_by, *request.approvers)
        return self.has_role(*APPROVERS) and not mine

    def _may_review(self, requests: tuple[messages.BreakGlass, ...]) -> set[str]:
        over = [r for r in requests if r.state in ("spent", "over") and self.has_role("auditor")]
        return {r.id for r in over if self.actor.name not in (r.requested_by, *r.approvers)}


class RequestBreakGlass(Page):
    """The form of a data steward or honest broker."""

    async def post(self) -> None:
        """Asks; the vault checks and raises the alarm."""
        subjects = tuple(self._field("subjects").replace(",", " ").split())
        if not 1 <= len(subjects) <= MAX_SUBJECTS:
            raise InvalidError(f"break-glass: wanted 1 to {MAX_SUBJECTS} pseudonyms, got {len(subjects)}")
        message = messages.RequestBreakGlass(
            token=self.token,
            dataset=self._field("dataset").strip(),
            subjects=subjects,
            reason=self._field("reason"),
            ticket=self._field("ticket").strip(),
        )
        await self.ask("vaultd", message)
        self.go("break-glass", done="glass_requested")

    def _field(self, name: str) -> str:
        text = self.text_field(name)
        if len(text) > MAX_FIELD:
            raise InvalidError(f"break-glass {name}: wanted at most {MAX_FIELD} characters, got more")
        return text


class ApproveBreakGlass(Page):
    """One of two approvals, by people who are neither the requester nor on a project of the dataset."""

    async def post(self, request_id: str) -> None:
        """Approves or refuses."""
        decision = self.text_field("decision")
        if decision == "approve":
            await self.ask("vaultd", messages.ApproveBreakGlass(token=self.token, id=request_id))
        elif decision == "refuse":
            reason = self.text_field("reason")
            await self.ask("vaultd", messages.RefuseBreakGlass(token=self.token, id=request_id, reason=reason))
        else:
            raise InvalidError("break-glass: wanted approve or refuse, got neither; go back and choose")
        self.go("break-glass", done="decided")


class ReviewBreakGlass(Page):
    """An auditor's look at what was done."""

    async def post(self, request_id: str) -> None:
        """Closes the request with a finding."""
        finding = self.text_field("finding")
        await self.ask("vaultd", messages.ReviewBreakGlass(token=self.token, id=request_id, finding=finding))
        self.go("break-glass", done="reviewed")


class AcknowledgeAlarm(Page):
    """Seen, by this person; everybody else goes on seeing it."""

    async def post(self, alarm_id: str) -> None:
        """Acknowledges one alarm."""
        await self.ask("vaultd", messages.AcknowledgeAlarm(token=self.token, id=alarm_id))
        self.go("break-glass", done="acknowledged")
