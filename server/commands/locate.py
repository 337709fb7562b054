"""Finding the running service."""

import time
from pathlib import Path

from server.commands.api_client import ApiClient
from shared.errors import ServiceError
from shared.running import read_running
from shared.settings import Settings, load_settings

# A service that is named but silent may be just starting.
_STARTING_S = 30.0
_PAUSE_S = 0.2


def service_client() -> ApiClient:
    """Return a client of the running service that the settings lead to.

    Raises:
        SettingsError: a setting is wrong.
        ServiceError: there is no service.
    """
    return need_service(load_settings())


def service_address(settings: Settings) -> str:
    """Return where the service is looked for, without asking whether it is there.

    In this order: ``FEEDMILL_URL``, what ``DATA_DIR/feedmill.json`` names, the port that a service
    of these settings would have.
    """
    if settings.feedmill_url is not None:
        return settings.feedmill_url
    running = read_running(settings.data_dir)
    return running.url if running is not None else settings.service_url


def find_service(settings: Settings) -> ApiClient | None:
    """Return a client of the running service; None when there is none.

    Looked for where :func:`service_address` says.

    Raises:
        ServiceError: one is named but does not answer.
    """
    if settings.feedmill_url is not None:
        return _named(settings.feedmill_url, "FEEDMILL_URL", settings, wait_s=0)
    running = read_running(settings.data_dir)
    if running is not None:
        name = str(Path(settings.data_dir) / "feedmill.json")
        return _named(running.url, name, settings, wait_s=_STARTING_S)
    client = ApiClient(settings.service_url, api_key=settings.api_key)
    if client.is_alive():
        return client
    client.__exit__(None, None, None)
    return None


def need_service(settings: Settings) -> ApiClient:
    """Return a client of the running service.

    Raises:
        ServiceError: there is none.
    """
    client = find_service(settings)
    if client is None:
        raise ServiceError(
            f"no Feedmill runs at {settings.service_url}: start it with 'feedmill up', "
            "or set FEEDMILL_URL"
        )
    return client


def _named(url: str, named_by: str, settings: Settings, *, wait_s: float) -> ApiClient:
    client = ApiClient(url, api_key=settings.api_key)
    give_up_at = time.monotonic() + wait_s
    while not client.is_alive():
        if time.monotonic() >= give_up_at:
            raise ServiceError(f"no Feedmill answers at {url}, which {named_by} names")
        time.sleep(_PAUSE_S)
    return client
