"""The import contracts, and that a breach of one is seen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sources import ROOT, modules

CONTRACTS = (ROOT / ".importlinter").read_text("utf-8")


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    argv = (sys.executable, "-c", code, "--no-cache", "--config", str(config))
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def test_every_import_contract_holds() -> None:
    done = lint(ROOT / ".importlinter")
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize(
    ("allowed", "importer"),
    [
        ("enclave.sealed.reader", "enclave.sealed.reader"),
        ("enclave.wire\n", "enclave.wire.framing"),
    ],
)
def test_a_breach_of_a_protection_is_seen(tmp_path: Path, allowed: str, importer: str) -> None:
    """The same contracts without one of the permissions: the import that needs it must be named."""
    head, mark, tail = CONTRACTS.partition("allowed_importers =\n    " + allowed)
    if not mark:
        head, mark, tail = CONTRACTS.partition("    " + allowed)
        tail = "    enclave.detectors" + tail
    else:
        tail = "allowed_importers =\n    enclave.detectors\n" + tail
    config = tmp_path / "contracts"
    config.write_text(head + tail)
    done = lint(config)
    assert done.returncode == 1
    assert importer in done.stdout


def test_protected_modules_exist_under_the_names_of_the_contracts() -> None:
    names = {module.name for module in modules()}
    protected = re.findall(r"protected_modules =\n    (enclave\.\S+)", CONTRACTS)
    assert set(protected) == {"enclave.keys.unwrap", "enclave.sealed.reader", "enclave.keys.sign"}
    assert set(protected) <= names


def test_each_module_of_risk_and_disclosure_is_declared_pure_but_the_two_with_a_reason() -> None:
    section = CONTRACTS.partition("contract:pure]")[2].partition("forbidden_modules")[0]
    pure = set(re.findall(r"^    (enclave\.\S+)$", section, re.MULTILINE))
    found = {module.name for module in modules() if re.fullmatch(r"enclave\.(risk|disclosure)\..+", module.name)}
    assert found - pure == {"enclave.risk.engine", "enclave.disclosure.parse"}
    assert {name for name in pure if re.match(r"enclave\.(risk|disclosure)\.", name)} <= found
