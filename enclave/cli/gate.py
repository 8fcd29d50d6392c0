"""``enclave-gate``: the filter in front of one person's single-user server; the launcher starts one per server."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from enclave.core.errors import EnclaveError
from enclave.runtime.log import Log
from enclave.server.gate.process import GateOptions, serve


def main() -> None:
    """Serves until a signal."""
    parser = argparse.ArgumentParser(prog="enclave-gate", description=__doc__)
    parser.add_argument("--listen", type=Path, required=True, help="socket for the proxy")
    parser.add_argument("--server", type=Path, required=True, help="socket of the single-user server")
    parser.add_argument("--server-uid", type=int, required=True, help="the owner that this socket must have")
    parser.add_argument("--hub", required=True, help="the Hub's API, http://127.0.0.1:8001/hub/api")
    parser.add_argument("--hub-listen", type=Path, required=True, help="socket that the server sees as its Hub")
    parser.add_argument("--base-url", required=True, help="/user/NAME/")
    parser.add_argument("--person", required=True)
    parser.add_argument("--keep", type=Path, required=True, help="socket that seals the code folder")
    parser.add_argument("--audit", type=Path, required=True, help="the ledger's socket")
    given = parser.parse_args()
    options = GateOptions(
        listen=given.listen,
        server=given.server,
        server_uid=given.server_uid,
        hub_api=given.hub,
        hub_listen=given.hub_listen,
        base_url=given.base_url,
        person=given.person,
        keep=given.keep,
        audit=given.audit,
    )
    try:
        asyncio.run(serve(options, log=Log("gate")))
    except EnclaveError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
