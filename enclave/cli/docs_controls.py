"""The page on controls, made from the catalogue that the evidence pack is made from."""

from __future__ import annotations

from enclave.audit.controls import KINDS, known_controls


def controls_page() -> str:
    """Every safeguard with what holds it, its events and its tests."""
    lines = [
        "# Controls\n\nThe safeguards of 45 CFR part 164, what holds each here, and what shows it. ",
        "`enclave audit evidence` counts these events in a period, for an inspector. What is the organisation's own, ",
        "the product supports and does not hold.\n",
    ]
    for kind in KINDS:
        lines.append(
            f"\n## {kind.capitalize()}\n\n| safeguard | 45 CFR | workflow | what holds it | events | tests |\n"
        )
        lines.append("|---|---|---|---|---|---|\n")
        for one in known_controls():
            if one.kind == kind:
                whose = "" if one.by == "product" else " **The organisation's own.**"
                events, tests = (" ".join(f"`{name}`" for name in names) for names in (one.events, one.tests))
                rows = f" ({', '.join(one.rows)})" if one.rows else ""
                lines.append(
                    f"| {one.safeguard}{rows} | {one.section} | {', '.join(one.workflow)} | {one.mechanism}{whose} "
                    f"| {events} | {tests} |\n"
                )
    return "".join(lines)
