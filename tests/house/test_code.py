"""The rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
import sys

import pytest
from sources import Module, imported, modules

OURS = ("enclave", "enclave_kernel", "enclave_kernel_views")
EVERY = [module for package in OURS for module in modules(package)]
MODULE_LINES = 500
FUNCTION_LINES = 40
KERNEL_LINES = 800
VIEWS_MAY_IMPORT = {"numpy", "pandas", "pyarrow", "matplotlib", "IPython", "enclave_kernel"}
ASYNC_MAY_LIVE_IN = ("enclave.hub", "enclave.server", "enclave.console", "enclave.sandbox", "enclave.cli")
ASYNC_MODULES = (*ASYNC_MAY_LIVE_IN, "enclave.audit.daemon")
PURE = re.compile(
    r"enclave\.(core|policy)(\..+)?|enclave\.wire\.(messages(\..+)?|framing)|enclave\.audit\.(event|merkle|checkpoint)"
    r"|enclave\.determination\.(certificate|states)|enclave\.airlock\.states"
    r"|enclave\.deid\.(profile|actions|uids|dates|names|faces\.(hold|recognisability))|enclave\.risk\.(?!engine).+|enclave\.disclosure\.(?!parse).+"
)
IMPURE_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("io", "open"),
    ("uuid", "uuid1"),
    ("uuid", "uuid4"),
}
IMPURE_NAMES = {"open", "input", "print"}


def functions(module: Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_module_is_longer_than_500_lines() -> None:
    assert {module.name: n for module in EVERY if (n := module.text.count("\n")) > MODULE_LINES} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    long = {}
    for module in EVERY:
        for node in functions(module):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                long[f"{module.name}:{node.name}"] = lines
    assert long == {}


def test_every_package_init_is_empty_but_the_one_that_researchers_import() -> None:
    full = [m.name for m in EVERY if m.path.name == "__init__.py" and _statements(m) and m.name != "enclave_kernel"]
    assert full == []


def _statements(module: Module) -> list[ast.stmt]:
    docstring = bool(module.tree.body) and isinstance(module.tree.body[0], ast.Expr)
    return module.tree.body[1:] if docstring else module.tree.body


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    assert [module.name for module in EVERY if vague & set(module.name.split("."))] == []


def test_the_kernel_package_imports_the_standard_library_only() -> None:
    foreign = []
    for module in modules("enclave_kernel"):
        for name, line in imported(module):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top == "enclave_kernel":
                continue
            if top == "enclave_kernel_views" and not _at_the_top(module, line):
                continue  # adapters are asked for at the moment of their use
            foreign.append(f"{module.name}:{line} {name}")
    assert foreign == []


def test_the_kernels_views_import_only_what_the_kernel_environment_has() -> None:
    allowed = VIEWS_MAY_IMPORT | set(sys.stdlib_module_names) | {"enclave_kernel_views"}
    found = {name for module in modules("enclave_kernel_views") for name, _ in imported(module)}
    assert {name for name in found if name.partition(".")[0] not in allowed} == set()


def test_the_kernel_package_stays_small() -> None:
    assert sum(module.text.count("\n") for module in modules("enclave_kernel")) <= KERNEL_LINES


def _at_the_top(module: Module, line: int) -> bool:
    return any(node.lineno == line for node in module.tree.body)


def test_pure_modules_ask_no_clock_and_open_no_file() -> None:
    found = [
        f"{module.name}:{node.lineno} {ast.unparse(node.func)}"
        for module in EVERY
        if PURE.fullmatch(module.name)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _is_impure(node.func)
    ]
    assert found == []


def _is_impure(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id in IMPURE_NAMES
    if isinstance(called, ast.Attribute):
        owner = ast.unparse(called.value).rpartition(".")[2]
        return (owner, called.attr) in IMPURE_CALLS
    return False


PURE_MAY_NOT_IMPORT = {
    *("time", "random", "secrets", "socket", "ssl", "select", "selectors", "os", "pathlib", "shutil"),
    *("tempfile", "glob", "subprocess", "threading", "multiprocessing", "concurrent", "asyncio", "signal"),
    *("sqlite3", "duckdb", "logging"),
}


def test_pure_modules_import_no_clock_randomness_files_sockets_or_processes() -> None:
    found = [
        f"{module.name}:{line} {name}"
        for module in EVERY
        if PURE.fullmatch(module.name)
        for name, line in imported(module)
        if name.partition(".")[0] in PURE_MAY_NOT_IMPORT or name.startswith("enclave.runtime")
    ]
    assert found == []


def test_async_functions_live_only_at_the_edge() -> None:
    found = [
        f"{module.name}:{node.name}"
        for module in EVERY
        if not module.name.startswith(ASYNC_MODULES)
        for node in functions(module)
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert found == []


@pytest.mark.row("S5.3")
def test_certificates_are_always_checked() -> None:
    found = [
        f"{module.name}: {ast.unparse(node)}"
        for module in EVERY
        for node in ast.walk(module.tree)
        if _switches_checks_off(node)
    ]
    assert found == []


def _switches_checks_off(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword) and node.arg in ("verify", "verify_ssl", "validate_cert", "check_hostname"):
        return isinstance(node.value, ast.Constant) and node.value.value is False
    return isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context")


@pytest.mark.parametrize("mark", ["# noqa", "# type: ignore"])
def test_every_exception_from_a_rule_gives_its_reason_on_the_line(mark: str) -> None:
    bare = []
    for module in EVERY:
        for number, line in enumerate(module.text.splitlines(), 1):
            _, found, after = line.partition(mark)
            if found and not re.search(r"(?:[:\[][\w\s,\-\]]*?)(?:\s-\s|\s+#\s)\S+ \S+", after):
                bare.append(f"{module.name}:{number}")
    assert bare == []
