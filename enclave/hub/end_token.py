"""The one thing a shell's token may do at the Hub beside saying whose it is: end itself.

JupyterHub's own way to delete a token needs the scope ``tokens!user``, which also makes new tokens with all that
the person may. A token that ends itself needs no scope: whoever holds it could use it anyway.
"""

from __future__ import annotations

from http import HTTPStatus

from jupyterhub.apihandlers.base import APIHandler
from tornado.web import HTTPError

from enclave.identity.authorization import CLIENT_ID

PATH = "/end_token"


class EndTokenHandler(APIHandler):
    """``POST /hub/end_token`` with a token of ``enclave login``: 204, and nobody is resolved by it any more."""

    async def post(self) -> None:
        """Deletes the token that came with the request, and no other; records the sign-out."""
        token = self.get_token()
        if token is None or token.user is None or token.client_id != CLIENT_ID:
            raise HTTPError(HTTPStatus.FORBIDDEN, "Sign-out: wanted a token of a shell, got none or another one")
        name = token.user.name
        self.db.delete(token)
        self.db.commit()
        await self.authenticator.record_sign_out(name)
        self.set_status(HTTPStatus.NO_CONTENT)
