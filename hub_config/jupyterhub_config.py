"""JupyterHub's configuration of one enclave home (``ENCLAVE_HOME``): each name here is a real trait, a test says so.

Start:  jupyterhub -f hub_config/jupyterhub_config.py
"""

import signal
import sys
from pathlib import Path

from enclave.hub.home_page import first_page
from enclave.hub.roles_config import (
    CLI,
    CONSOLE,
    CULLER,
    SERVER_TOKEN_SCOPES,
    client_scopes,
    custom_scopes,
    load_roles,
)
from enclave.hub.secrets_files import (
    CLI_CLIENT,
    CONSOLE_TOKEN,
    COOKIE_SECRET,
    IDP_CLIENT,
    PROXY_TOKEN,
    read_hub_secret,
    read_secret_file,
)
from enclave.hub.settings import HubSettings
from enclave.runtime.home import home_from

c = get_config()  # noqa: F821 - traitlets puts it here
signal.signal(signal.SIGINT, signal.default_int_handler)  # a start in the background ignores it, for children too
home = home_from(None)
settings = home.settings(HubSettings, section="hub")

# ── listeners: loopback only; the proxy is a process of its own (enclave.hub.proxy) ──
c.JupyterHub.bind_url = f"http://127.0.0.1:{settings.port}"
c.JupyterHub.public_url = f"{settings.url}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_port}"
c.JupyterHub.cleanup_servers = False  # servers outlive a Hub that restarts
c.JupyterHub.cleanup_proxy = False
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.last_activity_interval = 5  # it looks at the proxy's routes as often: one that was restarted has none
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_api_port}"
c.ConfigurableHTTPProxy.auth_token = read_hub_secret(home, PROXY_TOKEN)

# ── state ──
c.JupyterHub.db_url = f"sqlite:///{home.state('hub') / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret = bytes.fromhex(read_hub_secret(home, COOKIE_SECRET))
c.JupyterHub.log_level = "WARN"
c.JupyterHub.template_paths = [str(Path(__file__).parent / "templates")]

# ── sign-in ──
c.JupyterHub.authenticator_class = "enclave.hub.authenticator.EnclaveAuthenticator"
c.EnclaveAuthenticator.issuer = settings.issuer
c.EnclaveAuthenticator.authorize_url = settings.authorize_url
c.EnclaveAuthenticator.token_url = settings.token_url
c.EnclaveAuthenticator.jwks_url = settings.jwks_url
c.EnclaveAuthenticator.client_id = settings.idp_client_id
c.EnclaveAuthenticator.client_secret = (
    read_secret_file(Path(settings.idp_client_secret_file))
    if settings.idp_client_secret_file
    else read_hub_secret(home, IDP_CLIENT)
)
c.EnclaveAuthenticator.oauth_callback_url = settings.callback_url
c.EnclaveAuthenticator.scope = list(settings.idp_scopes)
c.EnclaveAuthenticator.username_claim = settings.username_claim
c.EnclaveAuthenticator.groups_claim = settings.groups_claim
c.EnclaveAuthenticator.mfa_amr = settings.mfa_amr
c.EnclaveAuthenticator.mfa_acr = settings.mfa_acr
c.EnclaveAuthenticator.enable_pkce = True
c.EnclaveAuthenticator.manage_groups = True
c.EnclaveAuthenticator.enable_auth_state = False  # no token of the provider is kept
c.EnclaveAuthenticator.auth_refresh_age = 0  # so nothing could be asked again: groups are those of the last sign-in
c.EnclaveAuthenticator.allow_all = False
c.EnclaveAuthenticator.any_allow_config = True  # check_allowed asks for a checked sign-in with an enclave group
c.EnclaveAuthenticator.allow_existing_users = False
c.EnclaveAuthenticator.login_service = "your organisation"
c.EnclaveAuthenticator.audit_socket = str(home.socket("auditd"))
c.JupyterHub.cookie_max_age_days = settings.session_hours / 24
c.JupyterHub.oauth_token_expires_in = settings.session_hours * 3600
c.JupyterHub.token_expires_in_max_seconds = settings.session_hours * 3600
c.JupyterHub.oauth_require_pkce = True

# ── servers ──
c.JupyterHub.spawner_class = "enclave.hub.spawner.EnclaveSpawner"
c.EnclaveSpawner.launcher_socket = str(home.socket("launcherd"))
c.EnclaveSpawner.server_token_scopes = list(SERVER_TOKEN_SCOPES)
c.EnclaveSpawner.oauth_client_allowed_scopes = []  # the browser's token at the server carries no role
c.EnclaveSpawner.default_url = "/lab"
c.EnclaveSpawner.disable_user_config = True
c.EnclaveSpawner.env_keep = []
c.EnclaveSpawner.start_timeout = settings.server_start_timeout_s
c.EnclaveSpawner.http_timeout = settings.server_start_timeout_s
c.EnclaveSpawner.poll_interval = 10
c.JupyterHub.allow_named_servers = False
c.JupyterHub.shutdown_on_logout = True
c.JupyterHub.default_url = first_page
c.JupyterHub.redirect_to_server = False

# ── roles and services ──
c.JupyterHub.custom_scopes = custom_scopes()
c.JupyterHub.load_roles = load_roles()
c.JupyterHub.services = [
    {
        "name": CONSOLE,
        "url": f"http://127.0.0.1:{settings.console_port}",
        "api_token": read_hub_secret(home, CONSOLE_TOKEN),
        "oauth_client_allowed_scopes": client_scopes(),
        "oauth_no_confirm": True,
        "timeout": 1,
    },
    {
        "name": CLI,
        "api_token": read_hub_secret(home, CLI_CLIENT),
        "oauth_client_allowed_scopes": client_scopes(),
        "oauth_redirect_uri": settings.cli_redirect_uri,
        "display": False,
    },
    {
        "name": CULLER,
        "command": [
            sys.executable,
            "-P",
            "-m",
            "jupyterhub_idle_culler",
            f"--timeout={settings.server_idle_minutes * 60}",
            "--cull-every=60",
        ],
        "display": False,
    },
]

# ── pages ──
c.JupyterHub.tornado_settings = {
    "headers": {
        "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
        "style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    },
    "cookie_options": {"samesite": "Lax"},
}
c.JupyterHub.authenticate_prometheus = True
