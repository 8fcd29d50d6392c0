"""The Hub's and the server's configuration name real traits: traitlets only warns at a typo."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config, Configurable
from traitlets.config.loader import PyFileConfigLoader

from enclave.cli.init import make_home
from enclave.core.errors import DeniedError
from enclave.hub.roles_config import client_scopes, custom_scopes, load_roles
from enclave.hub.secrets_files import NAMES, hub_secrets, read_hub_secret
from enclave.identity.roles import PEOPLE_ROLES, scope_of

ROOT = Path(__file__).parents[2]
HUB_CONFIG = ROOT / "hub_config" / "jupyterhub_config.py"
SERVER_CONFIG = ROOT / "enclave" / "server" / "config" / "server_config.py"
CLASSES = {
    "JupyterHub": "jupyterhub.app",
    "ConfigurableHTTPProxy": "jupyterhub.proxy",
    "EnclaveAuthenticator": "enclave.hub.authenticator",
    "EnclaveSpawner": "enclave.hub.spawner",
    "ServerApp": "jupyter_server.serverapp",
    "LabApp": "jupyterlab.labapp",
    "MultiKernelManager": "jupyter_client.multikernelmanager",
    "MappingKernelManager": "jupyter_server.services.kernels.kernelmanager",
    "KernelManager": "jupyter_client.manager",
    "FileContentsManager": "jupyter_server.services.contents.filemanager",
    "ContentsManager": "jupyter_server.services.contents.manager",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = make_home(tmp_path / "home", port=18_000)
    monkeypatch.setenv("ENCLAVE_HOME", str(made.root))
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", "http+unix://%2Frun%2Fenclave%2Fserver.sock/user/rosa/")
    monkeypatch.setenv("JUPYTER_PATH", "")
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")
    return made


def load(path: Path) -> Config:
    return PyFileConfigLoader(path.name, path=str(path.parent)).load_config()


@pytest.mark.parametrize("path", [HUB_CONFIG, SERVER_CONFIG], ids=["hub", "server"])
def test_every_setting_is_a_real_configurable_trait(home: Any, path: Path) -> None:
    config = load(path)
    assert config
    for name, section in config.items():
        cls: type[Configurable] = getattr(importlib.import_module(CLASSES[name]), name)
        traits = cls.class_traits(config=True)
        assert set(section) <= set(traits), f"{name}: {set(section) - set(traits)}"


def test_the_hub_listens_on_loopback_only_and_shares_nothing(home: Any) -> None:
    config = load(HUB_CONFIG)
    for address in (config.JupyterHub.bind_url, config.JupyterHub.hub_bind_url, config.ConfigurableHTTPProxy.api_url):
        assert address.startswith("http://127.0.0.1:")
    assert config.JupyterHub.allow_named_servers is False
    assert config.JupyterHub.oauth_require_pkce is True
    assert config.EnclaveAuthenticator.manage_groups is True
    assert config.EnclaveAuthenticator.allow_all is False
    assert not any("shar" in scope for role in load_roles() for scope in role["scopes"])
    assert not any(service.get("admin") for service in config.JupyterHub.services)


def test_no_role_holds_a_power_over_others() -> None:
    for role in load_roles():
        if role["name"] == "idle-culler":
            continue
        for scope in role["scopes"]:
            own = scope.endswith(("!user", "!server")) or scope.startswith(("custom:", "access:services!service="))
            assert own, f"{role['name']} holds {scope}"


def test_each_role_has_its_scope_and_clients_may_carry_all_of_them() -> None:
    assert set(custom_scopes()) == {scope_of(role) for role in PEOPLE_ROLES} == set(client_scopes())
    held = {scope for role in load_roles() for scope in role["scopes"] if scope.startswith("custom:")}
    assert held == set(custom_scopes())


def test_secrets_are_made_once_and_refused_when_others_can_read_them(home: Any) -> None:
    before = {name: read_hub_secret(home, name) for name in NAMES}
    assert len(set(before.values())) == len(NAMES)
    hub_secrets(home)
    assert {name: read_hub_secret(home, name) for name in NAMES} == before
    (home.state("hub") / NAMES[0]).chmod(0o640)
    with pytest.raises(DeniedError, match="0600"):
        read_hub_secret(home, NAMES[0])
