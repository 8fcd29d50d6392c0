"""Which project a kernel works for, and where its notebook lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enclave.core.errors import ConflictError, DeniedError, InvalidError
from enclave.sandbox.kernel_rights import choose, choose_engagement
from enclave.sandbox.places import person_folder
from enclave.sandbox.uids import Uids
from enclave.server.provisioner import notebook_path
from enclave.wire.messages.facts import Engagement
from enclave.wire.messages.projects import Project

A, B = (Project(name=name, title="", purpose="", state="open", members={}) for name in ("alpha", "beta"))


def test_the_named_project_counts_then_the_folder_then_the_only_one() -> None:
    assert choose((A, B), wanted="beta", path="alpha/x.ipynb") is B
    assert choose((A, B), wanted=None, path="alpha/x.ipynb") is A
    assert choose((A,), wanted=None, path="else/x.ipynb") is A
    with pytest.raises(InvalidError):
        choose((A, B), wanted=None, path="else/x.ipynb")
    with pytest.raises(DeniedError):
        choose((A, B), wanted="gamma", path="alpha/x.ipynb")
    with pytest.raises(DeniedError):
        choose((), wanted=None, path="")


def test_a_client_names_only_paths_below_its_code_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/person")
    assert notebook_path("/home/person/code/demo/a.ipynb", "") == "demo/a.ipynb"
    assert notebook_path("", "/home/person/code/demo") == "demo"
    assert notebook_path("", "/home/person/code") == ""
    for odd in ("/etc/passwd", "/home/person/code/../../x", "relative/x"):
        assert notebook_path(odd, "") == ""


def test_a_person_keeps_a_uid_and_shares_it_with_nobody(tmp_path: Path) -> None:
    uids = Uids(tmp_path, base=210_000, drops=True)
    rosa, rita = uids.person("rosa").uid, uids.person("rita").uid
    again = Uids(tmp_path, base=210_000, drops=True)
    assert (again.person("rosa").uid, again.person("rita").uid) == (rosa, rita)
    kernels = {uids.kernel().uid for _ in range(1000)}
    assert len(kernels | {rosa, rita, uids.door().uid}) == 1003
    assert 0 not in kernels
    assert Uids(tmp_path, base=1, drops=False).person("rosa").uid is None


def test_the_uids_of_people_end_before_those_of_kernels(tmp_path: Path) -> None:
    (tmp_path / "uids.json").write_text(json.dumps({f"p{n}": n for n in range(1, 10_000)}))
    with pytest.raises(ConflictError):
        Uids(tmp_path, base=210_000, drops=True).person("one-too-many")


def test_a_service_has_a_folder_of_its_own() -> None:
    assert person_folder("service:reports") == "service_reports"
    with pytest.raises(InvalidError):
        person_folder("../x")


def test_an_engagement_counts_in_its_datasets_folder_or_when_there_is_no_project() -> None:
    first, later, other = (
        Engagement(
            expert="edgar", dataset=dataset, version=1, content_root="", certificate="", until=f"{year}-01-01T00:00:00Z"
        )
        for dataset, year in (("ct", 2027), ("ct", 2028), ("mr", 2029))
    )
    everything = (first, later, other)
    assert choose_engagement(everything, alone=True, path="x.ipynb") is other
    assert choose_engagement(everything, alone=True, path="ct/x.ipynb") is later
    assert choose_engagement(everything, alone=False, path="ct/x.ipynb") is later
    assert choose_engagement(everything, alone=False, path="x.ipynb") is None
    assert choose_engagement((), alone=True, path="ct/x.ipynb") is None
