"""A registry's state as an older release left it: each step takes back what one layout brought."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_BACK = {
    8: "drop table agreements;",
    7: "alter table reassessments drop column software;",
    6: "drop table reassessments;",
    5: "drop table security_keys; drop table enrolment_codes; drop table step_ups;",
    4: (
        "alter table determinations add column public_key text;"
        "update determinations set public_key = json_extract(signature, '$.public_key') where signature is not null;"
        "update determinations set signature = json_extract(signature, '$.value') where signature is not null;"
        "alter table determinations drop column countersignature;"
    ),
    3: "drop table samples; alter table versions drop column only_for;",
    2: "drop table grants;",
}


def back_to(path: Path, layout: int) -> sqlite3.Connection:
    """Turns the database of a registry that does not run into one of ``layout``; the caller closes it."""
    db = sqlite3.connect(path)
    (found,) = db.execute("pragma user_version").fetchone()
    for number in range(found, layout, -1):
        db.executescript(_BACK[number])
    db.executescript(f"pragma user_version = {layout};")
    return db
