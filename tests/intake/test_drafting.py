"""The determination that intake drafts for its candidate."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from enclave.core.errors import DeniedError, InvalidError, NotFoundError
from enclave.deid.synthetic.cohort import Planted
from enclave.determination.certificate import parse_certificate
from enclave.intake.recipe import read_intake_recipe
from enclave.intake.software import software_sha256
from enclave.wire.messages.intake import ShowBatch

SHIPPED = Path(str(files("enclave.intake").joinpath("recipes")))

pytestmark = pytest.mark.slow


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A site's own copy of the demo recipe."""
    folder = tmp_path / "recipes"
    shutil.copytree(SHIPPED, folder)
    return folder


def test_the_draft_speaks_of_the_candidate_with_what_was_declared_and_measured(handed_in: Any) -> None:
    stand, _ = handed_in
    (text,) = stand.registry.proposed.values()
    draft = parse_certificate(text.encode())
    (registered,) = stand.registry.registered
    assert (draft.dataset, draft.version, draft.content_root) == ("demo-ct", 1, registered.content_root)
    assert (draft.expert.principal, draft.steward, draft.release.recipients) == ("edgar", "stella", ("demo",))
    for section in ("counts", "deidentification", "results", "quality", "methods", "column_roles"):
        assert getattr(draft, section) == registered.summary[section]
    assert draft.thresholds["k"] == 5


def test_the_draft_tells_the_expert_what_private_elements_went_and_how_telling_they_were(
    handed_in: Any, cohort: tuple[Path, Planted]
) -> None:
    stand, _ = handed_in
    (text,) = stand.registry.proposed.values()
    found = parse_certificate(text.encode()).deidentification["private_removed"]
    assert found["kinds"] == len(found["elements"]) > 0
    assert len(found["most_telling"]) == min(12, found["kinds"])
    first = found["elements"][0]
    assert first["own_value_share"] == max(row["own_value_share"] or 0 for row in found["elements"])
    assert first["element"] in found["most_telling"][0]
    assert not [secret for secret in cohort[1].strings if secret.lower() in str(found).lower()]


def test_a_draft_that_was_proposed_before_a_restart_is_not_proposed_twice(handed_in: Any) -> None:
    stand, batch = handed_in
    stand.stop()
    register = stand.home.state("identified") / "batches"
    (record,) = [path for path in register.rglob("*.json") if batch.id in path.read_text() or batch.id in path.name]
    record.write_text(record.read_text().replace('"sealed"', '"sealing"'))
    stand.start()
    again = stand.ask(ShowBatch(token="stella-token", id=batch.id))
    assert (again.state, again.message) == ("sealed", "Registered after a restart.")
    assert len(stand.registry.proposed) == 1


def test_a_refused_draft_leaves_the_candidate_and_says_so(stand: Any, few_images: tuple[Path, Planted]) -> None:
    stand.registry.refusal = DeniedError("expert and data steward: wanted two people", code="expert_is_steward")
    batch = stand.wait(stand.add(few_images[0]))
    assert batch.state == "sealed"
    assert "was not drafted: expert and data steward" in batch.message
    assert len(stand.registry.registered) == 1


def test_a_recipe_without_a_determination_drafts_none(recipes: Path) -> None:
    path = recipes / "demo.toml"
    path.write_text(path.read_text().partition("[determination]")[0])
    assert read_intake_recipe("demo", folder=str(recipes)).determination is None


@pytest.mark.parametrize(
    ("text", "error"),
    [("conditions = 3", InvalidError), ("= broken", InvalidError), ("[expert]\nunknown = 1", InvalidError)],
)
def test_a_broken_declaration_is_refused_before_anything_is_taken_in(
    recipes: Path, text: str, error: type[Exception]
) -> None:
    (recipes / "demo" / "determination.toml").write_text(text)
    with pytest.raises(error):
        read_intake_recipe("demo", folder=str(recipes))


def test_a_declaration_that_is_not_there_is_named(recipes: Path) -> None:
    (recipes / "demo" / "determination.toml").unlink()
    with pytest.raises(NotFoundError, match=r"determination\.toml"):
        read_intake_recipe("demo", folder=str(recipes))


@pytest.mark.row("S13.7")
def test_the_registry_hears_at_every_start_which_software_runs(stand: Any) -> None:
    assert _until(lambda: stand.registry.software) == [software_sha256()]
    stand.stop()
    stand.registry.stop()
    stand.start()  # a registry that is away is told once it is there
    stand.registry.start()
    assert _until(lambda: stand.registry.software[1:]) == [software_sha256()]


def _until(found: Callable[[], list[str]]) -> list[str]:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)
    return found()
