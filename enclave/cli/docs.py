"""``python -m enclave.cli.docs [--check]``: the pages of ``docs/`` that are made from the code.

Each page is a pure function of what the code declares, so that a page which differs from it is a fault.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import enclave
from enclave.audit.event_schema import event_schema
from enclave.audit.vocabulary import known_kinds
from enclave.cli.docs_alerts import alerts_page
from enclave.cli.docs_controls import controls_page
from enclave.cli.docs_deid import deid_page
from enclave.cli.docs_egress import egress_page
from enclave.cli.main import COMMANDS, load
from enclave.cli.settings_table import SECTIONS, settings_class
from enclave.core.errors import FAMILIES
from enclave.policy.model import REASONS

DOCS: Final = Path(enclave.__file__).parent.parent / "docs"
_MARK: Final = "<!-- Made by `make docs` from the code; edit the code instead. -->\n\n"


def events_page() -> str:
    """Every kind of event that the ledger takes."""
    lines = [
        (
            "# Events\n\nWhat the ledger can hold. A kind or a detail that is not declared here is refused. "
            "The same as a JSON Schema: [events.schema.json](events.schema.json).\n\n"
        )
    ]
    by_writer: dict[str, list[Any]] = {}
    for kind in known_kinds().values():
        by_writer.setdefault(kind.writer, []).append(kind)
    for writer in sorted(by_writer):
        lines.append(f"## Written by {writer}\n\n| kind | what it says | detail |\n|---|---|---|\n")
        for kind in sorted(by_writer[writer], key=lambda found: found.name):
            detail = ", ".join(f"`{name}` {type_}" for name, type_ in sorted(kind.detail.items()))
            lines.append(f"| `{kind.name}` | {_cell(kind.what)} | {detail} |\n")
        lines.append("\n")
    return "".join(lines)


def events_schema() -> str:
    """The same as a JSON Schema."""
    return json.dumps(event_schema(), indent=1, ensure_ascii=False)


def errors_page() -> str:
    """The families of errors with their exit codes, and the reasons of denials."""
    lines = ["# Errors\n\n| family | exit code | meaning |\n|---|---|---|\n", "| unexpected | 1 | A fault of ours. |\n"]
    for name, cls in FAMILIES.items():
        lines.append(f"| {name} | {cls.exit_code} | {_cell(_first_line(cls))} |\n")
    lines.append("\nExit code 2 is a wrong use of a command, 3 done with findings or quarantine, 4 blocked.\n\n")
    lines.append("## Reasons of denials\n\nThe `reason` of a refused event and the `code` of its error.\n\n")
    lines.append("| reason | message |\n|---|---|\n")
    lines.extend(f"| `{code}` | {_cell(message)} |\n" for code, message in sorted(REASONS.items()) if code != "ok")
    return "".join(lines)


def settings_page() -> str:
    """Every key of ``enclave.toml``."""
    lines = ["# Settings\n\n`HOME/enclave.toml`; every table and key is optional, an unknown one is an error.\n"]
    for section in SECTIONS:
        lines.extend(_settings_table(section, settings_class(section)))
    return "".join(lines)


def _settings_table(name: str, cls: type[Any]) -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    promise = inspect.cleandoc(cls.__doc__ or "").replace("``", "`")
    yield f"\n## [{name}]\n\n{promise}\n"
    nested = []
    fields = dataclasses.fields(cls)
    if fields:
        yield "\n| key | type | default |\n|---|---|---|\n"
    for field in fields:
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            nested.append((f"{name}.{field.name}", hint))
            continue
        yield f"| `{field.name}` | {_type_name(hint)} | {_default(field)} |\n"
    for inner, hint in nested:
        yield from _settings_table(inner, typing.cast("type[Any]", hint))


def cli_page() -> str:
    """Every command of ``enclave`` with its parameters."""
    lines = ["# Commands\n\nEach has `--help`. `--json PATH` writes the result as JSON, `-` is standard output.\n"]
    for name, (path, summary) in COMMANDS.items():
        lines.append(f"\n## enclave {name}\n\n{summary}\n")
        if importlib.util.find_spec(path.partition(":")[0]) is None:
            lines.append("\nNot in this release.\n")
            continue
        lines.extend(_command(f"enclave {name}", load(name), top=True))
    return "".join(lines)


def _command(path: str, command: Any, *, top: bool = False) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner:
        for name in inner:
            yield from _command(f"{path} {name}", inner[name])
        return
    if not top:
        yield f"\n### {path}\n\n{_first_line_of(command.help or '')}\n"
    rows = [_parameter(parameter) for parameter in command.params if parameter.name not in _EVERYWHERE]
    if rows:
        yield "\n| parameter | meaning |\n|---|---|\n"
        yield from rows


_EVERYWHERE: Final = frozenset({"help", "install_completion", "show_completion", "home", "json_path"})


def _parameter(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    name = (
        ", ".join(f"`{opt}`" for opt in parameter.opts)
        if is_option
        else f"`{(parameter.metavar or parameter.name).upper()}`"
    )
    needed = " (required)" if parameter.required and is_option else ""
    return f"| {name}{needed} | {_cell(getattr(parameter, 'help', None) or '')} |\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "events.md": events_page,
    "events.schema.json": events_schema,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
    "egress.md": egress_page,
    "alerts.md": alerts_page,
    "controls.md": controls_page,
    "deidentification.md": deid_page,
}


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(hint, getattr(hint, "__name__", None) or str(hint)).replace("|", "or")


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, tuple | list):
        return "`[" + ", ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in value) + "]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _first_line(cls: type[Any]) -> str:
    return _first_line_of(cls.__doc__ or "")


def _first_line_of(text: str) -> str:
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("``", "`").split())


def page_text(name: str) -> str:
    """The whole text of one page as it must stand in ``docs/``."""
    mark = _MARK if name.endswith(".md") else ""
    return mark + PAGES[name]().rstrip() + "\n"


def main() -> None:
    """Writes the pages, or with ``--check`` says which differ and exits 1."""
    parser = argparse.ArgumentParser(prog="python -m enclave.cli.docs")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page differs")
    check = parser.parse_args().check
    stale = []
    for name in PAGES:
        text, path = page_text(name), DOCS / name
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, "utf-8")
    if check and stale:
        sys.exit(f"docs: wanted pages as the code has them, got others: {', '.join(stale)}; run `make docs`")


if __name__ == "__main__":
    main()
