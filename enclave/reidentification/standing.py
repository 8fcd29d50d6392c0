"""How a person stands to a dataset, as the registry knows it: member of any project that it is released to, or not."""

from __future__ import annotations

from enclave.wire.client import WireClient
from enclave.wire.messages.facts import AskProjectStanding
from enclave.wire.messages.registry import ListVersions


class RegistryStanding:
    """Asks registryd; raises ``UnavailableError`` when it does not answer."""

    def __init__(self, client: WireClient) -> None:
        self._client = client

    def __call__(self, *, token: str, person: str, dataset: str) -> bool | None:
        """Whether ``person`` belongs to a project of ``dataset``; None when the registry has no such dataset."""
        versions = self._client.call(ListVersions(token=token, dataset=dataset)).versions
        if not versions:
            return None
        projects = sorted({project for version in versions for project in version.projects})
        standings = [self._client.call(AskProjectStanding(person=person, project=project)) for project in projects]
        return any(standing.member_role for standing in standings)
