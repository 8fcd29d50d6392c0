"""``enclave-registryd``: catalogue, determinations, releases, grants and projects as a process."""

from __future__ import annotations

from enclave.cli.daemon import hub_resolver, run_daemon
from enclave.core.errors import InvalidError
from enclave.hub.settings import HubSettings
from enclave.registry.daemon import RegistryDaemon
from enclave.registry.settings import RegistrySettings
from enclave.runtime.home import Home
from enclave.runtime.log import Log


def make(home: Home, log: Log) -> RegistryDaemon:
    """The registry over ``home``."""
    settings = home.settings(RegistrySettings, section="registry")
    hub = home.settings(HubSettings, section="hub")
    check_no_demo_keys(settings, hub)
    return RegistryDaemon(home, resolve=hub_resolver(home), log=log, settings=settings, origin=hub.url)


def check_no_demo_keys(settings: RegistrySettings, hub: HubSettings) -> None:
    """Raises ``InvalidError`` where real people sign in and a demonstration's key would count."""
    if settings.allow_demo_keys and not hub.embedded_idp:
        raise InvalidError(
            "settings: wanted no [registry] allow_demo_keys beside an identity provider of real people, got both; "
            "take allow_demo_keys out",
            code="demo_keys_in_production",
        )


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon("registryd", what="Keeps who may open what, and why.", make=make)


if __name__ == "__main__":
    main()
