"""The server's session manager: a notebook renamed while its kernel runs is recorded by its new name from then on."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from jupyter_server.services.sessions.sessionmanager import SessionManager


class EnclaveSessionManager(SessionManager):
    """Works with an ``EnclaveKernelManager``."""

    async def update_session(self, session_id: str, **changes: Any) -> None:
        """As its base; returns when the launcher knows what the session's notebook is called."""
        await super().update_session(session_id, **changes)
        if not changes:
            return
        session = await self.get_session(session_id=session_id)
        path, name = session["path"], session["name"]
        # JupyterLab says path and name one after the other: the path alone tells both of a notebook.
        name = PurePosixPath(path).name if session["type"] == "notebook" else name
        stated = self.get_kernel_env(path, name)["JPY_SESSION_NAME"]
        await self.kernel_manager.name_notebook(session["kernel"]["id"], stated)
