"""The API as the command line calls it, and where the running service is found.

Beside the fetcher the only user of the HTTP library.
"""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from server.commands.output import messages, print_text
from shared.errors import ServiceError
from shared.running import RUNNING_FILE, read_running
from shared.settings import Origin, Settings, is_loopback, load_settings

Json = Any

CALL_TIMEOUT_S = 30.0
_ALIVE_TIMEOUT_S = 2.0
_PAGE = 500
# A service that is named but silent may be just starting.
_STARTING_S = 30.0
_PAUSE_S = 0.2


class ApiClient:
    """Calls one service. Every method raises :class:`~shared.errors.ServiceError` when it fails."""

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        self.url = url
        address = urlsplit(url)
        is_here = is_loopback(address.hostname or "")
        self._client = httpx2.Client(
            base_url=url,
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            # A proxy set for the outside world cannot reach what runs here.
            trust_env=not is_here,
            # Certificates take a while to read; here there is nothing that would show one.
            verify=not is_here or address.scheme != "http",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def is_alive(self) -> bool:
        """Return whether a Feedmill answers there, whatever the state of its stores."""
        return self._check("/healthz") == 200

    def is_ready(self) -> bool:
        """Return whether the service and both its stores answer."""
        return self._check("/readyz") == 200

    def failing_threads(self) -> list[str]:
        """Return the service's long-lived threads that fail just now.

        Raises:
            ServiceError: it is not ready.
        """
        return list(self.get("/readyz").get("failing_threads", ()))

    def get(self, path: str, **parameters: str | int | None) -> Json:
        """Return the answer to GET; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._call("GET", path, params=given)

    def get_all(
        self, path: str, *, max_items: int | None = None, **parameters: str | int | None
    ) -> list[Json]:
        """Return the items of a list, page by page: all of them, or the first ``max_items``."""
        items: list[Json] = []
        cursor = None
        while True:
            left = _PAGE if max_items is None else max_items - len(items)
            page = self.get(path, limit=min(left, _PAGE), cursor=cursor, **parameters)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or (max_items is not None and len(items) >= max_items):
                return items

    def post(self, path: str, body: Json = None, *, timeout_s: float = CALL_TIMEOUT_S) -> Json:
        """Return the answer to POST with a JSON body."""
        return self._call("POST", path, json=body if body is not None else {}, timeout=timeout_s)

    def patch(self, path: str, body: Json) -> Json:
        """Return the answer to PATCH with a JSON body."""
        return self._call("PATCH", path, json=body)

    def put(self, path: str, body: Json) -> Json:
        """Return the answer to PUT with a JSON body."""
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> Json:
        """Return the answer to DELETE, None if it has no body."""
        return self._call("DELETE", path)

    def post_text(
        self, path: str, text: bytes, media_type: str, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> Json:
        """Return the answer to POST with a body that is not JSON."""
        headers = {"Content-Type": media_type}
        return self._call("POST", path, content=text, headers=headers, timeout=timeout_s)

    def get_text(self, path: str) -> str:
        """Return the body of an answer that is not JSON."""
        return self._send("GET", path).text

    def _check(self, path: str) -> int | None:
        try:
            answer = self._client.get(path, timeout=_ALIVE_TIMEOUT_S)
        except httpx2.HTTPError:
            return None
        is_ours = _is_json(answer) and "status" in _decoded(answer)
        return answer.status_code if is_ours else None

    def _call(self, method: str, path: str, **options: Any) -> Json:
        answer = self._send(method, path, **options)
        if not answer.content:
            return None
        if not _is_json(answer):
            raise ServiceError(f"the server at {self.url} is not Feedmill")
        return _decoded(answer)

    def _send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, **options)
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            reason = str(exc) or type(exc).__name__
            raise ServiceError(f"the service at {self.url} does not answer: {reason}") from exc
        if answer.is_error or answer.is_redirect:
            raise _refusal(answer)
        return answer


def quote_id(text: str) -> str:
    """Return an id as a part of a path: percent-encoded whole.

    Dots too where they would lead to another path.
    """
    return quote(text, safe="") if text not in (".", "..") else text.replace(".", "%2E")


def _refusal(answer: httpx2.Response) -> ServiceError:
    problem = _decoded(answer) if _is_json(answer) else {}
    status = answer.status_code
    reason = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
    if status == 401:
        reason = "the service needs a key: set API_KEY to the one it was started with"
    retry_after = answer.headers.get("Retry-After", "")
    return ServiceError(
        reason,
        http_status=status,
        retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
    )


def _is_json(answer: httpx2.Response) -> bool:
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _decoded(answer: httpx2.Response) -> dict[str, Any]:
    try:
        decoded = answer.json()
    except ValueError as exc:
        raise ServiceError(f"{answer.url} answered with something other than JSON") from exc
    return decoded if isinstance(decoded, dict) else {}


def service_client() -> ApiClient:
    """Return a client of the running service that the settings lead to.

    Raises:
        SettingsError: a setting is wrong.
        ServiceError: there is no service.
    """
    settings = load_settings()
    client = find_service(settings)
    if client is None:
        raise ServiceError(
            f"no Feedmill runs at {settings.service_url}: start it with 'feedmill up', "
            "or set FEEDMILL_URL"
        )
    return client


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """Where the service is looked for, and what names that place.

    ``is_named``: one is said to be there, so that silence is an error. ``is_default``: the
    current folder's own service, which nobody has to be told about. ``wait_s``: how long one that
    is named may be silent because it is just starting.
    """

    url: str
    named_by: str
    is_named: bool = True
    is_default: bool = False
    wait_s: float = 0.0


def locate_service(settings: Settings) -> ServicePlace:
    """Return where the service is looked for, without asking whether it is there.

    In this order: ``FEEDMILL_URL``, what ``DATA_DIR/feedmill.json`` names, the port that a service
    of these settings would have.
    """
    if settings.feedmill_url is not None:
        return ServicePlace(settings.feedmill_url, "FEEDMILL_URL")
    file = settings.data_dir / RUNNING_FILE
    running = read_running(settings.data_dir)
    if running is None:
        named_by = f"HOST and PORT; there is no {file}"
        return ServicePlace(settings.service_url, named_by, is_named=False)
    is_default = settings.origin_of("data_dir") is Origin.DEFAULT
    return ServicePlace(running.url, str(file), is_default=is_default, wait_s=_STARTING_S)


def find_service(settings: Settings) -> ApiClient | None:
    """Return a client of the running service; None when there is none.

    Looked for where :func:`locate_service` leads. Standard error gets a line that names the
    service, unless it is the current folder's own.

    Raises:
        ServiceError: one is named but does not answer.
    """
    place = locate_service(settings)
    client = ApiClient(place.url, api_key=settings.api_key)
    if not _is_alive_within(client, place.wait_s):
        client.__exit__(None, None, None)
        if place.is_named:
            raise ServiceError(f"no Feedmill answers at {place.url}, which {place.named_by} names")
        return None
    if not place.is_default:
        print_text(messages(), f"Service: {place.url} (from {place.named_by})", style="dim")
    return client


def _is_alive_within(client: ApiClient, wait_s: float) -> bool:
    give_up_at = time.monotonic() + wait_s
    while not client.is_alive():
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(_PAUSE_S)
    return True
