"""The Hub's settings and the addresses that follow from them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubSettings:
    """``[hub]``. ``port`` is what people open; the next five on loopback are taken too.

    Without ``idp_issuer`` the embedded development identity provider is used: it asks for no password and is
    for synthetic data only. ``idp_client_secret_file`` names a file; the secret is never in the settings.
    """

    port: int = 8000
    public_url: str = ""  # https://… in front of a TLS terminating proxy; empty: http://localhost:PORT
    idp_issuer: str = ""
    idp_authorize_url: str = ""
    idp_token_url: str = ""
    idp_jwks_url: str = ""
    idp_client_id: str = "enclave-hub"
    idp_client_secret_file: str = ""
    idp_scopes: tuple[str, ...] = ("openid", "profile")
    username_claim: str = "sub"
    groups_claim: str = "groups"
    mfa_amr: tuple[str, ...] = ("mfa",)  # RFC 8176: any of these in `amr` …
    mfa_acr: tuple[str, ...] = ()  # … or any of these as `acr`
    session_hours: int = 8
    server_idle_minutes: int = 120
    server_start_timeout_s: int = 60

    @property
    def url(self) -> str:
        """Where people go, without a slash at the end."""
        return self.public_url.rstrip("/") or f"http://localhost:{self.port}"

    @property
    def hub_port(self) -> int:
        """The Hub itself, behind the proxy."""
        return self.port + 1

    @property
    def proxy_api_port(self) -> int:
        """The proxy's own API, for the Hub only."""
        return self.port + 2

    @property
    def idp_port(self) -> int:
        """The embedded development identity provider."""
        return self.port + 3

    @property
    def console_port(self) -> int:
        """The console service."""
        return self.port + 4

    @property
    def login_port(self) -> int:
        """Where ``enclave login`` waits for the browser to come back (RFC 8252, section 7.3)."""
        return self.port + 5

    @property
    def api_url(self) -> str:
        """The Hub's API as daemons on this machine reach it."""
        return f"http://127.0.0.1:{self.hub_port}/hub/api"

    @property
    def embedded_idp(self) -> bool:
        """Whether the development identity provider is in use."""
        return not self.idp_issuer

    @property
    def issuer(self) -> str:
        """The ``iss`` that an id_token must have."""
        return self.idp_issuer or f"http://localhost:{self.idp_port}"

    @property
    def authorize_url(self) -> str:
        """The provider's page for people."""
        return self.idp_authorize_url or f"{self.issuer}/oauth2/authorize"

    @property
    def token_url(self) -> str:
        """The provider's token endpoint."""
        return self.idp_token_url or f"{self.issuer}/oauth2/token"

    @property
    def jwks_url(self) -> str:
        """The provider's public keys."""
        return self.idp_jwks_url or f"{self.issuer}/jwks"

    @property
    def callback_url(self) -> str:
        """Where the provider sends people back to."""
        return f"{self.url}/hub/oauth_callback"

    @property
    def cli_redirect_uri(self) -> str:
        """The loopback address of ``enclave login``."""
        return f"http://127.0.0.1:{self.login_port}/callback"
