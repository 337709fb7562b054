"""Which variables look like misspelt settings, where values come from, how settings are grouped."""

import re
from pathlib import Path

import pytest

from shared.setting_names import find_misspelt, group_settings
from shared.settings import Origin, Settings, find_misspelt_settings, load_settings

SETTINGS = {field.upper() for field in Settings.model_fields}
EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text("utf-8")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def nearest(environment: set[str], env_file: set[str] | None = None) -> dict[str, str]:
    found = find_misspelt(environment, env_file or set(), SETTINGS)
    return {each.name: each.nearest for each in found}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER_BATCHSIZE", "WORKER_BATCH_SIZE"),
        ("FECTH_INTERVAL_S", "FETCH_INTERVAL_S"),
        ("FETCH_INTERVAL", "FETCH_INTERVAL_S"),
        ("WORKER_FLUSH_S", "WORKER_FLUSH_MS"),
        ("JOB_ATEMPTS", "JOB_ATTEMPTS"),
        ("QUEUE_PARTITION", "QUEUE_PARTITIONS"),
        ("APIKEY", "API_KEY"),
        ("MONGODB_ULR", "MONGODB_URL"),
    ],
)
def test_a_misspelt_variable_is_found_with_the_nearest_setting(name: str, meant: str) -> None:
    assert nearest({name}) == {name: meant}


def test_variables_of_other_programs_are_not_taken_for_misspelt_settings() -> None:
    others = {
        "HOSTNAME", "HOSTS", "PORTS", "PATH", "HOME", "LANG", "PWD", "SHELL", "LOGNAME",
        "REDIS_HOSTS", "REDIS_URI", "REDIS_PORT_6379_TCP_ADDR", "REDIS_SERVICE_HOST",
        "MONGODB_URI", "MONGO_URL", "MONGODB_PORT", "DATABASE_URL", "API_KEYS", "API_TOKEN",
        "DATA_DIRS", "XDG_DATA_DIRS", "LOG_LEVELS", "WORKER_PORT", "WORKER_SERVICE_HOST",
        "FEEDMILL_PORT", "FEEDMILL_SERVICE_PORT", "JOB_NAME", "QUEUE_URL", "FETCH_HEAD",
        "GRAFANA_PASSWORD", "TEST_MONGODB_URL", "KEEP_ALIVE", "WEB_CONCURRENCY",
    }  # fmt: skip
    assert nearest(others) == {}


def test_names_that_others_use_too_count_in_the_file_unless_the_setting_is_there() -> None:
    assert nearest(set(), {"MONGODB_URI"}) == {"MONGODB_URI": "MONGODB_URL"}
    assert nearest({"MONGODB_URL"}, {"MONGODB_URI"}) == {}


def test_settings_are_not_misspelt() -> None:
    assert nearest(SETTINGS, SETTINGS) == {}


def test_environment_and_file_are_looked_at_whatever_their_letters_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("worker_batchsize", "5")
    (tmp_path / ".env").write_text("FETCH_PAGE=3\nFETCH_PAGES=3\n")
    found = [(each.name, each.place) for each in find_misspelt_settings()]
    assert found == [("FETCH_PAGE", ".env"), ("WORKER_BATCHSIZE", "the environment")]


def test_each_value_has_the_place_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORT", "8001")
    monkeypatch.setenv("LOG_LEVEL", "")
    (tmp_path / ".env").write_text("PORT=8002\nHEAVY_ITEMS=10\nLOG_LEVEL=DEBUG\n")
    settings = load_settings()
    assert settings.origin_of("port") is Origin.ENVIRONMENT
    assert settings.origin_of("heavy_items") is Origin.ENV_FILE
    assert settings.origin_of("log_level") is Origin.ENV_FILE
    assert settings.origin_of("host") is Origin.DEFAULT


def test_redis_url_made_of_redis_host_comes_from_there(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REDIS_HOST=r\n")
    assert load_settings().origin_of("redis_url") is Origin.ENV_FILE


def test_settings_are_grouped_as_in_env_example() -> None:
    shown, heading = [], ""
    for line in EXAMPLE.partition("# --- Docker Compose alone ---")[0].splitlines():
        if found := re.fullmatch(r"# --- (.+?)(\. .*)? ---", line):
            heading = found[1]
        elif found := re.match(r"#([A-Z_]+)=", line):
            shown.append((heading, found[1]))
    grouped = [(group, name.upper()) for group, name in group_settings(Settings.model_fields)]
    assert sorted(grouped) == sorted(shown)
