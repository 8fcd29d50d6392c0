"""``enclave determination key``: the signing key of an expert or a data steward, a file or on a token of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enclave.cli.output import words

key_app = typer.Typer(no_args_is_help=True, help="The signing key of an expert or a data steward.")


@key_app.command("new")
def new_key(key: Annotated[Path, typer.Argument(metavar="KEY", help="A file ending in .key.")]) -> None:
    """Make a new signing key and its public half (.pub) beside it; never overwrites one.

    Example: enclave determination key new edgar.key
    """
    from enclave.keys.files import new_ed25519

    new_ed25519(key)
    words().print(
        f"Made a signing key in {key}. Keep it to yourself; the operator trusts {key.with_suffix('.pub').name}.",
        markup=False,
    )


@key_app.command("public")
def public_key(
    key: Annotated[str, typer.Argument(metavar="URI", help="Where the key is: file:/PATH or pkcs11:…")],
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The .pub file to write.")],
) -> None:
    """Write the public half of a signing key into a new file, for the operator to trust. Needs no PIN.

    Example: enclave determination key public "pkcs11:token=edgar;object=sign?module-path=/usr/lib/opensc-pkcs11.so"
    edgar.pub
    """
    from enclave.keys.files import write_public_half
    from enclave.keys.verify import public_half_of

    write_public_half(output, public_half_of(key), kind="ed25519-public")
    words().print(f"Wrote the public half into {output}.", markup=False)
