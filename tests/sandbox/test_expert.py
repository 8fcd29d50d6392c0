"""An expert looks at the candidate before they sign: a kernel without a project, as long as they are engaged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from stub_hub import client_of, hub_settings

from enclave.core.errors import DeniedError
from enclave.wire.messages.facts import Engagement
from enclave.wire.messages.launcher import RestartKernel, StartKernel


@pytest.fixture
def launcher_settings() -> Iterator[str]:
    with hub_settings() as text:
        yield text


def _engaged(person: str, *, until: str = "2999-01-01T00:00:00Z", dataset: str = "demo-ct") -> Engagement:
    return Engagement(
        expert=person, dataset=dataset, version=1, content_root="ab" * 32, certificate="c" * 32, until=until
    )


def _run(connection: Any, code: str) -> str:
    from jupyter_client.blocking.client import BlockingKernelClient

    client = BlockingKernelClient()
    client.load_connection_info(connection)
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        return str(client.execute_interactive(code, timeout=30, output_hook=lambda _: None)["content"]["status"])
    finally:
        client.stop_channels()


def test_an_engaged_expert_gets_a_kernel_without_a_project_and_keeps_the_role_over_a_restart(stand: Any) -> None:
    stand.far.engaged = (_engaged("edgar"),)
    edgar = client_of(stand, "edgar")
    started = edgar.call(StartKernel(path="demo-ct/look.ipynb"))
    assert _run(started.connection, "1 + 1") == "ok"
    edgar.call(RestartKernel(kernel=started.kernel))
    assert [(one.person, one.role, one.project) for one in stand.far.opened] == [("edgar", "expert", "")] * 2
    end = time.monotonic() + 30
    while not (cells := stand.ledger.events(kind="cell.execute", outcome="ok")) and time.monotonic() < end:
        time.sleep(0.05)
    for event in (*cells, *stand.ledger.events(kind="kernel.start", outcome="intent")):
        assert (event["actor"], event["role"], "project" in event) == ("edgar", "expert", False)
    edgar.close()


@pytest.mark.parametrize(
    ("person", "engaged", "reason"),
    [
        ("edgar", (), "not_a_member"),
        ("eva", (_engaged("edgar"),), "not_a_member"),  # somebody else's engagement
        ("edgar", (_engaged("edgar", until="2020-01-01T00:00:00Z"),), "engagement_over"),
        ("oskar", (_engaged("oskar"),), "role"),  # no longer an expert for the identity provider
    ],
)
def test_nobody_else_does_and_the_refusal_is_in_the_ledger(
    stand: Any, person: str, engaged: tuple[Engagement, ...], reason: str
) -> None:
    stand.far.engaged = engaged
    client = client_of(stand, person)
    with pytest.raises(DeniedError) as refused:
        client.call(StartKernel(path="demo-ct/look.ipynb"))
    assert refused.value.code == reason
    (event,) = stand.ledger.events(kind="kernel.start")
    assert (event["actor"], event["outcome"], event["reason"]) == (person, "refused", reason)
    assert stand.far.opened == []
    client.close()


def test_a_token_without_a_role_gets_no_socket_and_the_refusal_is_in_the_ledger(stand: Any) -> None:
    with pytest.raises(DeniedError) as caught:
        client_of(stand, "nina")
    assert caught.value.code == "no_role"
    (event,) = stand.ledger.events(kind="launcher.person_socket", outcome="refused")
    assert (event["actor"], event["reason"]) == ("nina", "no_role")
