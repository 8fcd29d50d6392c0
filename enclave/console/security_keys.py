"""Security keys: enrol one, vouch for somebody else, end one; and what a browser needs to confirm or sign with it."""

from __future__ import annotations

import hashlib
import json
from http import HTTPStatus
from typing import Any

from enclave.console.pages import STATUS, Page
from enclave.core.canonical import parse_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.determination.certificate import SignedCertificate, signature_from_text
from enclave.determination.report import report_html
from enclave.wire.messages import registry
from enclave.wire.messages import security_keys as messages

# The page is ours and holds numbers and people's words; it may draw with its own styles and nothing else. It is of the
# console's origin, so that its links count as the console's; no script runs and no form is sent from it all the same.
REPORT_POLICY = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
VOUCHERS = ("data_steward", "operator")


class Asked(Page):
    """A page that answers a script: JSON, errors too."""

    async def answer(self, message: Any) -> None:
        """What the registry says a browser is to be asked, or why not."""
        try:
            found = await self.ask("registryd", message)
        except EnclaveError as error:
            self.set_status(STATUS.get(error.family, HTTPStatus.INTERNAL_SERVER_ERROR))
            self.finish({"message": error.message})
            return
        self.finish({"challenge": found.challenge, "options": found.options})

    def words_field(self, name: str) -> str:
        """What a person wrote; a form sends other line ends than a script, and a confirmation is of every byte."""
        return self.text_field(name).replace("\r\n", "\n").strip()

    def proof_field(self, name: str) -> Any:
        """What the browser's key answered, as JSON; None when the form came without."""
        text = self.text_field(name)
        return parse_json(text) if text else None


class SecurityKeys(Page):
    """A person's own keys."""

    async def get(self) -> None:
        """The list, the form to enrol one, and for those who vouch the form for a code."""
        await self.show_with(code=None)

    async def show_with(self, *, code: messages.EnrolmentCode | None) -> None:
        """The page; ``code`` is shown this once."""
        reply = await self.ask("registryd", messages.ListSecurityKeys(token=self.token))
        self.show("security_keys.html", keys=reply.keys, vouches=self.has_role(*VOUCHERS), code=code)


class IssueCode(SecurityKeys):
    """The form of who vouches for somebody."""

    async def post(self) -> None:
        """Shows the code; it is kept nowhere."""
        person = self.text_field("person").strip()
        await self.show_with(code=await self.ask("registryd", messages.IssueCode(token=self.token, person=person)))


class BeginEnrolment(Asked):
    """Asked by the script of the enrolment form."""

    async def post(self) -> None:
        """What ``navigator.credentials.create`` takes."""
        await self.answer(messages.BeginEnrolment(token=self.token))


class Enrol(Asked):
    """The form of who enrols."""

    async def post(self) -> None:
        """Hands the new key in, with the code."""
        response = self.proof_field("proof")
        if response is None:
            raise InvalidError("security key: wanted the answer of a key, got none; this page needs its script")
        message = messages.Enrol(
            token=self.token,
            code=self.text_field("code"),
            challenge=self.text_field("challenge"),
            response=response,
            label=self.text_field("label"),
        )
        await self.ask("registryd", message)
        self.go("security-keys", done="enrolled")


class EndKey(Page):
    """A key that is lost or not wanted any more."""

    async def post(self, key: str) -> None:
        """Ends it."""
        await self.ask("registryd", messages.RevokeSecurityKey(token=self.token, id=key))
        self.go("security-keys", done="key_ended")


class ConfirmRelease(Asked):
    """Asked by the script of the release form."""

    async def post(self, release_id: str) -> None:
        """What ``navigator.credentials.get`` takes, for exactly this decision and reason."""
        message = messages.ConfirmRelease(
            token=self.token,
            id=release_id,
            approve=self.text_field("decision") == "approve",
            reason=self.words_field("reason"),
        )
        await self.answer(message)


class Determination(Page):
    """One determination as it is signed: its canonical text and digest."""

    async def get(self, certificate: str) -> None:
        """The text, and for who may sign it next the form."""
        found = await self.ask("registryd", registry.ShowDetermination(token=self.token, id=certificate))
        text = json.loads(found.text)
        expert, steward = text["expert"]["principal"], text["steward"]
        signer = {"draft": expert, "under_assessment": expert, "signed": "" if found.countersignature else steward}
        self.show(
            "determination.html",
            c=found,
            text=json.dumps(text, indent=2, ensure_ascii=False),
            digest=hashlib.sha256(found.text.encode("utf-8")).hexdigest(),
            mine=signer.get(found.state) == self.actor.name,
            faces=self.has_role("honest_broker", "expert") and bool(_faces(text)),
        )


def _faces(text: Any) -> Any:
    """What the certificate says of heads that can be seen; None when nothing."""
    told = text.get("quality", {}).get("faces")
    return told.get("shown") if isinstance(told, dict) else None


class DeterminationReport(Page):
    """The same as people read it, with plots; a page of its own under a policy without scripts."""

    async def get(self, certificate: str) -> None:
        """Its HTML."""
        found = await self.ask("registryd", registry.ShowDetermination(token=self.token, id=certificate))
        parts = (signature_from_text(one) if one else None for one in (found.signature, found.countersignature))
        self.set_header("Content-Security-Policy", REPORT_POLICY)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(report_html(SignedCertificate(found.text.encode("utf-8"), *parts), faces="faces"))


class AskSignature(Asked):
    """Asked by the script of the signing form."""

    async def post(self, certificate: str) -> None:
        """What ``navigator.credentials.get`` takes; the challenge is the digest of what is signed."""
        await self.answer(messages.AskSignature(token=self.token, id=certificate))


class SignDetermination(Asked):
    """The form of the expert, then of the data steward."""

    async def post(self, certificate: str) -> None:
        """Hands the signature in."""
        message = messages.SubmitAssertion(token=self.token, id=certificate, assertion=self.proof_field("proof"))
        await self.ask("registryd", message)
        self.go("determinations", certificate, done="determined")
