"""``enclave deid``: outputs, exit codes and messages as the interfaces say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN_KEYS = {
    "files_in", "files_out", "quarantined", "reasons", "actions", "options", "table_edition", "seconds",
    "stage_seconds", "images_per_second", "redacted_boxes", "canaries",
}  # fmt: skip


def enclave(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "enclave.cli.main", "deid", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)


@pytest.mark.slow
def test_key_run_check_and_run_again(source: Any, tmp_path: Path) -> None:
    folder = source[0]
    key, out, recipe = tmp_path / "a.key", tmp_path / "out", tmp_path / "r.toml"
    recipe.write_text('options = ["retain_modified_dates", "clean_descriptors"]\n')
    assert enclave("key", "new", key).returncode == 0
    assert enclave("key", "new", key).returncode == 13
    some = sorted((folder / "dicom").iterdir())[:6]
    ran = enclave(
        "run", *some, "--output", out, "--key-file", key, "--recipe", recipe, "--json", "-", "--map", tmp_path / "map"
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert set(report) >= RUN_KEYS
    assert report["canaries"] == {"planted": 0, "found": 0, "bound95": None}
    assert report["pixels_not_cleaned"] == report["files_out"]
    assert (tmp_path / "map").stat().st_mode & 0o777 == 0o600
    assert len(json.loads((tmp_path / "map").read_text())) == 6
    checked = enclave("check", out, "--against", *some, "--key-file", key, "--recipe", recipe, "--json", "-")
    assert checked.returncode == 0, checked.stderr
    assert set(json.loads(checked.stdout)) == {"ok", "checks", "residual_hits", "canaries", "review_sample"}
    assert enclave("run", *some, "--output", out, "--key-file", key, "--recipe", recipe).returncode == 13
    other = enclave("run", *some, "--output", out, "--key-file", key, "--resume")
    assert other.returncode == 13  # another recipe than before


@pytest.mark.parametrize(
    ("tag", "action"), [("0010,0010", "Z"), ("(0028,1055)", "C"), ("0009,1001", "X"), ("00080018", "U")]
)
def test_explain_says_what_happens_with_one_attribute(tag: str, action: str) -> None:
    from enclave.deid.explain import explain_tag
    from enclave.deid.recipe import Recipe

    found = explain_tag(tag, recipe=Recipe())
    assert found["action"] == action
    assert found["because"]


def test_explain_lists_every_row_of_the_table() -> None:
    from enclave.deid.explain import explain_all
    from enclave.deid.recipe import Recipe

    assert len(explain_all(Recipe())) > 655


def test_a_missing_input_an_empty_input_and_a_bad_recipe_have_their_exit_codes(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    enclave("key", "new", key)
    (tmp_path / "empty").mkdir()
    base = ("--output", tmp_path / "o", "--key-file", key)
    assert enclave("run", tmp_path / "none", *base).returncode == 11
    assert enclave("run", tmp_path / "empty", *base).returncode == 12
    (tmp_path / "r.toml").write_text('options = ["retain_full_dates", "retain_modified_dates"]')
    refused = enclave("run", tmp_path / "empty", *base, "--recipe", tmp_path / "r.toml")
    assert refused.returncode == 12
    assert "retain_full_dates" in refused.stderr
    assert "retain_modified_dates" in refused.stderr
    assert "Traceback" not in refused.stderr
