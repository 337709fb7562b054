"""Settings: what is accepted, what a wrong value is told, and that .env.example tells the truth."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings, is_loopback, load_settings

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
# What follows that heading is read by Compose alone; tests of the compose file look at it.
OURS = EXAMPLE.partition("# --- Docker Compose alone ---")[0]
EXAMPLE_VALUES = dict(re.findall(r"^#([A-Z_]+)=(.*)$", OURS, re.MULTILINE))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def load_error(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, values)
    return str(caught.value)


def test_env_example_documents_every_variable() -> None:
    assert set(EXAMPLE_VALUES) == {field.upper() for field in Settings.model_fields}


def test_env_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, EXAMPLE_VALUES).model_dump() == Settings().model_dump()


@pytest.mark.parametrize("name", sorted(EXAMPLE_VALUES))
def test_env_example_states_the_accepted_range(name: str) -> None:
    field = Settings.model_fields[name.lower()]
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    if low is None or (low, high) == (1, 65535):
        return
    about = EXAMPLE.split(f"\n#{name}=")[0].rsplit("\n\n", 1)[-1]
    assert f"{low} to {high}" in about


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "WORKER_LOCK_MS",
            "999",
            "WORKER_LOCK_MS=999: must be a whole number from 1000 to 86400000 (milliseconds)",
        ),
        (
            "WORKER_STALLED_MS",
            "99",
            "WORKER_STALLED_MS=99: must be a whole number from 100 to 86400000 (milliseconds)",
        ),
        (
            "WORKER_MAX_STALLED",
            "1000001",
            "WORKER_MAX_STALLED=1000001: must be a whole number from 0 to 1000000",
        ),
        ("PORT", "http", "PORT=http: must be a whole number from 1 to 65535"),
        ("WORKER_TYPE", "big", "WORKER_TYPE=big: must be light, heavy or all"),
        ("FETCH_ALLOW_PRIVATE", "si", "FETCH_ALLOW_PRIVATE=si: must be true or false"),
        ("FETCH_TIMEOUT_S", "0", "FETCH_TIMEOUT_S=0: must be a number from 0.1 to 280 (seconds)"),
        (
            "BULL_QUEUE_NAME",
            "a:b",
            "BULL_QUEUE_NAME=a:b: must be at most 100 characters, no ':' and no spaces",
        ),
        (
            "API_RATE_LIMIT",
            "many",
            "API_RATE_LIMIT=many: must be COUNT/second, COUNT/minute, COUNT/hour or COUNT/day, as 60/minute",  # noqa: E501
        ),
        (
            "FEEDMILL_URL",
            "localhost:8000",
            "FEEDMILL_URL=localhost:8000: must be http://HOST:PORT or https://HOST:PORT",
        ),
        ("LOG_FORMAT", "x\ny", "LOG_FORMAT=x?y: must be console or json"),
    ],
)
def test_wrong_value_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    assert load_error(monkeypatch, {name: value}) == line


@pytest.mark.parametrize("host", ["http://a.example", "a.example:80", "a.*.example", "*a", "[::"])
def test_wrong_host_among_right_ones_is_named(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert load_error(monkeypatch, {"ALLOWED_HOSTS": f"ok.example,{host}"}) == (
        f"ALLOWED_HOSTS={host}: must be a host name or IP address without scheme and port, "
        "or *.example.com for all names under example.com"
    )


def test_each_of_several_wrong_values_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = load_error(monkeypatch, {"PORT": "0", "WORKER_TYPE": "x"}).splitlines()
    assert sorted(line.split("=")[0] for line in lines) == ["PORT", "WORKER_TYPE"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://user:hunter2@host"),
        ("REDIS_URL", "redis:/user:hunter2@host"),
        ("REDIS_URL", "redis://:hunter2@host:99999"),
        ("REDIS_URL", "redis://:hunt/er2@host"),
        ("REDIS_URL", "redis+sentinel://user:hunter2@one:1,two:2"),
        ("REDIS_URL", "redis+cluster://user:hunter2@one:1,two:2/3"),
        ("MONGODB_URL", "user:hunter2@host/feedmill"),
        ("MONGODB_URL", "mongo://user:p@hunter2@host/feedmill"),
        ("API_KEY", "hunter2 with spaces"),
        ("API_READ_KEYS", "good, hünter2"),
    ],
)
def test_secrets_are_masked_in_the_text(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    text = load_error(monkeypatch, {name: value})
    assert text.startswith(f"{name}=")
    assert "***" in text
    assert "er2" not in text
    assert "user" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_LOCK_MS", "1000"),
        ("WORKER_STALLED_MS", "100"),
        ("WORKER_MAX_STALLED", "0"),
        ("WORKER_MAX_STALLED", "1000000"),
        ("WORKER_RATE_LIMIT_MAX", "0"),
        ("REDIS_URL", "rediss://user:secret@redis.example:6380/2"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("REDIS_URL", "redis://[::1]:6379"),
        ("REDIS_URL", "redis+sentinel://:secret@one:26379,two,[::1]:26379/main"),
        ("REDIS_URL", "rediss+cluster://user:secret@one:7000,two:7001"),
        ("REDIS_URL", "redis+cluster://one/0?socket_timeout=3"),
        ("REDIS_URL", "rediss+sentinel://one/main/2?sentinel_password=secret"),
        ("MONGODB_URL", "mongodb://a:1,b:2,c:3/db?replicaSet=rs0"),
        ("MONGODB_URL", "mongodb+srv://user:secret@cluster.example/?w=majority"),
        ("MONGODB_URL", "mongodb://localhost"),
        ("QUEUE_PREFIX", "{bull}"),
        ("LOG_LEVEL", "debug"),
        ("API_RATE_LIMIT", "100/hour"),
    ],
)
def test_edge_values_are_accepted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert str(getattr(load(monkeypatch, {name: value}), name.lower())) in (value, value.upper())


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_value_means_not_set(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    settings = load(monkeypatch, {"REDIS_URL": blank, "PORT": blank, "API_KEY": blank})
    assert (settings.redis_url, settings.port, settings.api_key) == (None, 8000, None)


def test_environment_wins_over_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=9001\nHEAVY_ITEMS=7\nSOMETHING_ELSE=1\n", "utf-8")
    settings = load(monkeypatch, {"PORT": "9002"})
    assert (settings.port, settings.heavy_items) == (9002, 7)


def test_wrong_value_in_env_file_is_told_too() -> None:
    Path(".env").write_text("PORT=none\n", "utf-8")
    with pytest.raises(SettingsError, match=r"^PORT=none: must be"):
        load_settings()


def test_unreadable_env_file_is_told_in_one_line() -> None:
    Path(".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read: ") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, None),
        ({"REDIS_PORT": "6380"}, None),
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        (
            {"REDIS_HOST": "::1", "REDIS_PORT": "7", "REDIS_PASSWORD": "p@/w"},
            "redis://:p%40%2Fw@[::1]:7/0",
        ),
        ({"REDIS_URL": "redis://one", "REDIS_HOST": "two"}, "redis://one"),
    ],
)
def test_redis_is_named_by_url_or_host(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], url: str | None
) -> None:
    assert load(monkeypatch, values).redis_url == url


def test_queue_names_follow_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, {"BULL_QUEUE_NAME": "items"})
    assert settings.light_queue == "items"
    assert settings.heavy_queue == "items_heavy"
    assert settings.dead_letter_queue == "items_dlq"
    assert settings.fetch_queue == "feed_fetch_queue"


def test_item_queue_cannot_be_the_fetch_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load_error(monkeypatch, {"BULL_QUEUE_NAME": "feed_fetch_queue"})
    assert text.startswith("BULL_QUEUE_NAME=feed_fetch_queue: ")


def test_open_address_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load_error(monkeypatch, {"HOST": "0.0.0.0"})
    assert text.startswith("HOST=0.0.0.0 with API_KEY not set: ")
    assert "ALLOW_UNAUTHENTICATED=true" in text


@pytest.mark.parametrize("way_in", [{"API_KEY": "key"}, {"ALLOW_UNAUTHENTICATED": "true"}])
def test_open_address_with_a_key_or_consent_is_accepted(
    monkeypatch: pytest.MonkeyPatch, way_in: dict[str, str]
) -> None:
    settings = load(monkeypatch, {"HOST": "0.0.0.0", **way_in})
    assert settings.service_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_roles_demand_both_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL is not set"):
        load(monkeypatch, {}).named_stores()
    with pytest.raises(SettingsError, match=r"^MONGODB_URL is not set"):
        load(monkeypatch, {"REDIS_HOST": "r"}).named_stores()
    with pytest.raises(SettingsError, match=r"of your own needs none, but --app or FEEDMILL_APP$"):
        load(monkeypatch, {"REDIS_HOST": "r"}).named_stores()
    settings = load(monkeypatch, {"MONGODB_URL": "mongodb://m"})
    assert settings.named_stores() == ("redis://r:6379/0", "mongodb://m")


def test_secrets_stay_out_of_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "REDIS_HOST": "r",
        "REDIS_PASSWORD": "hunter2",
        "API_KEY": "hunter2",
        "API_READ_KEYS": "hunter2-a,hunter2-b",
        "MONGODB_URL": "mongodb://u:hunter2@m",
    }
    assert "hunter2" not in repr(load(monkeypatch, values))


def test_allowed_hosts_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = "Feeds.example.com, *.intern,,10.0.0.1 ,FD00:0::1,[::1],server,"
    assert load(monkeypatch, {"ALLOWED_HOSTS": hosts}).allowed_hosts == (
        "feeds.example.com", "*.intern", "10.0.0.1", "[fd00::1]", "[::1]", "server",
    )  # fmt: skip


def test_any_host_is_accepted_with_a_key_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_error(monkeypatch, {"ALLOWED_HOSTS": "*"}).startswith(
        "ALLOWED_HOSTS=* with API_KEY not set: set API_KEY, or name the hosts; "
    )
    assert load(monkeypatch, {"ALLOWED_HOSTS": "*", "API_KEY": "k"}).allowed_hosts == ("*",)


@pytest.mark.parametrize(
    ("value", "path"),
    [("", ""), ("/", ""), ("/feedmill", "/feedmill"), ("/a/b-1/", "/a/b-1"), ("/~x", "/~x")],
)
def test_root_path_ends_without_a_slash(
    monkeypatch: pytest.MonkeyPatch, value: str, path: str
) -> None:
    assert load(monkeypatch, {"ROOT_PATH": value}).root_path == path


@pytest.mark.parametrize("value", ["feedmill", "/a/../b", "/..", "/a//b", "/a?b", "/a b", "/%41"])
def test_wrong_root_path_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    assert load_error(monkeypatch, {"ROOT_PATH": value}) == (
        f"ROOT_PATH={value}: must be a path as /feedmill: letters, digits, "
        "'-', '_', '.' and '~' between slashes"
    )


def test_root_path_that_would_hide_the_api_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_error(monkeypatch, {"ROOT_PATH": "/feeds/reader"}) == (
        "ROOT_PATH=/feeds/reader: must be another path than the API's own /feeds, as /feedmill"
    )


def test_trusted_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = "127.0.0.1, 10.0.0.0/8,,FD00:0::1,fd00::/8,*"
    assert load(monkeypatch, {"TRUSTED_PROXIES": proxies}).trusted_proxies == (
        "127.0.0.1", "10.0.0.0/8", "fd00::1", "fd00::/8", "*",
    )  # fmt: skip


@pytest.mark.parametrize(
    "proxy", ["nginx", "10.0.0.1/8", "10.0.0", "http://10.0.0.1", "10.0.0.1:80"]
)
def test_wrong_proxy_among_right_ones_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    assert load_error(monkeypatch, {"TRUSTED_PROXIES": f"127.0.0.1,{proxy}"}) == (
        f"TRUSTED_PROXIES={proxy}: must be IP addresses and networks, as 10.0.0.5 or 10.0.0.0/8, "
        "or * for every client"
    )


def test_read_only_keys_are_a_list_beside_the_full_key(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"API_KEY": "full", "API_READ_KEYS": " one, two ,,three"}
    assert load(monkeypatch, values).api_read_keys == ("one", "two", "three")


@pytest.mark.parametrize("values", [{}, {"API_KEY": "hunter2"}])
def test_read_only_keys_that_guard_nothing_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    text = load_error(monkeypatch, {**values, "API_READ_KEYS": "one,hunter2"})
    assert text.startswith("API_READ_KEYS ")
    assert "API_KEY" in text
    assert "\n" not in text
    assert "hunter2" not in text
