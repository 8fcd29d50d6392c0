"""The package that goes into the sandbox: small, of the standard library only, and speaking the house's messages."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import enclave_kernel
from enclave.core.errors import FAMILIES
from enclave.wire.messages import airlock, broker
from enclave.wire.messages.schema import request_type
from enclave_kernel.errors import EnclaveError
from enclave_kernel.listing import DatasetVersion, EgressRequest, Listing, Object

PACKAGE = Path(enclave_kernel.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))


def trees() -> list[tuple[str, ast.AST]]:
    return [(path.name, ast.parse(path.read_text("utf-8"))) for path in MODULES]


def imported(tree: ast.AST, *, top_level_only: bool = False) -> set[str]:
    nodes = tree.body if top_level_only else list(ast.walk(tree))  # type: ignore[attr-defined]  # a module has a body
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_the_kernel_package_imports_only_the_standard_library() -> None:
    allowed = set(sys.stdlib_module_names) | {"enclave_kernel"}
    for name, tree in trees():
        assert imported(tree, top_level_only=True) <= allowed, name
        assert imported(tree) <= allowed | {"enclave_kernel_views"}, name


def test_the_kernel_package_has_no_other_way_to_import() -> None:
    for name, tree in trees():
        words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not words & {"__import__", "exec", "eval", "importlib"}, name


def test_the_kernel_package_is_at_most_800_lines() -> None:
    assert sum(len(path.read_text("utf-8").splitlines()) for path in MODULES) <= 800


def test_the_kernel_package_starts_without_site_packages_and_without_the_house() -> None:
    code = "import sys, enclave_kernel as e; e.open; e.submit; print('enclave' in sys.modules, 'numpy' in sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {code}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False False"), done.stderr


REQUESTS = {
    "lease.list": (broker.ListDatasets, set()),
    "lease.open": (broker.OpenDataset, {"dataset", "version"}),
    "lease.objects": (broker.ListObjects, {"lease", "after"}),
    "lease.read": (broker.ReadObjects, {"lease", "names"}),
    "lease.save": (broker.SaveIntermediate, {"name", "kind", "header"}),
    "lease.load": (broker.LoadIntermediate, {"name"}),
    "egress.submit": (airlock.Submit, {"title", "purpose", "description", "names", "replaces"}),
    "egress.status": (airlock.AskStatus, set()),
}


def test_the_kernel_package_asks_what_the_house_declares() -> None:
    """The package writes plain dicts: their names are compared with the messages here."""
    written: dict[str, set[str]] = {}
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "ask":
                kind = node.args[0]
                assert isinstance(kind, ast.Constant)
                written[kind.value] = set()
    assert set(written) == set(REQUESTS)
    for name, (cls, fields) in REQUESTS.items():
        assert request_type(cls).name == name
        assert {field.name for field in dataclasses.fields(cls)} == fields


def test_the_keys_of_each_request_stand_in_the_code_as_declared() -> None:
    literals = [
        {key.value for key in node.keys if isinstance(key, ast.Constant)}
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
    ]
    for cls, _ in REQUESTS.values():
        required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        assert required in literals, cls


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Object, broker.ObjectInfo),
        (DatasetVersion, broker.DatasetInfo),
        (EgressRequest, airlock.EgressStatus),
    ],
)
def test_what_people_look_at_has_the_fields_of_the_messages(ours: Any, theirs: Any) -> None:
    assert {field.name for field in dataclasses.fields(ours)} == {field.name for field in dataclasses.fields(theirs)}


def test_every_family_of_errors_has_its_word() -> None:
    for family in FAMILIES:
        assert not str(EnclaveError("x", family=family)).startswith("Failed")
    assert EnclaveError("why; what to do", family="denied", code="c")._render_traceback_() == [
        "Refused: why; what to do [c]"
    ]


def listing() -> Listing[Object]:
    header = {"modality": "CT", "body_part": "<b>HEAD</b>", "shape": [3, 4], "dtype": "int16"}
    return Listing([Object(f"series/{i}", "series", 24, header) for i in range(60)], title="demo@1, series")


def test_a_listing_is_found_by_name_number_and_slice() -> None:
    items = listing()
    assert items["series/7"] is items[7] is items["7"]
    assert items[:3].names == ["series/0", "series/1", "series/2"]
    assert items[-1].shape == (3, 4)
    with pytest.raises(EnclaveError, match="names lists them"):
        items["9999"]


def test_a_listing_says_how_much_it_does_not_show_and_escapes_what_it_shows() -> None:
    items = listing()
    text, html = repr(items), items._repr_html_()
    assert text.startswith("demo@1, series: 60\n")
    assert "… and 40 more" in text
    assert "… and 10 more" in html
    assert "<b>" not in html.replace("<b>demo", "")
    assert "&lt;b&gt;HEAD" in html
    assert repr(Listing([], title="nothing here")) == "nothing here: none"


def test_what_cannot_be_kept_is_refused_with_what_can() -> None:
    with pytest.raises(EnclaveError, match="bytes, NumPy arrays of numbers or text, and pandas DataFrames"):
        enclave_kernel.save("x", object())


def test_a_service_that_is_away_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLAVE_RUN_DIR", str(tmp_path))
    with pytest.raises(EnclaveError, match=r"lease service did not answer.*restart the kernel"):
        enclave_kernel.datasets()
