"""Names in Redis: the same in Python and Lua, and no job id takes one of them."""

import re

import pytest

from shared.errors import InvalidJobId, QueueError
from shared.queue.connection import read_lua
from shared.queue.keys import (
    QUEUE_KEYS,
    QueueKeys,
    check_job_id,
    is_own_key,
    may_be_job,
    split_job_key,
    worker_connection_name,
)


def test_lua_and_python_name_the_same_keys() -> None:
    block = read_lua("layout").split("local NAMES = {")[1].split("}")[0]
    assert tuple(re.findall(r'"([\w-]+)"', block)) == QUEUE_KEYS


@pytest.mark.parametrize(
    "job_id", ["lwn#1", "lwn#https://lwn.net/1/?a=b:c", "a:b:c", "012", "1.5", "ü", "feed#x#0#17"]
)
def test_ids_that_the_layout_can_hold_are_accepted(job_id: str) -> None:
    assert check_job_id(job_id) == job_id


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        "0",
        "12",
        "-5",
        "0:1",
        "wait",
        "meta",
        "stalled-check",
        "repeat",
        "own:totals",
        "de:x",
        "dn:x",
        "repeat:x",
        "metrics:completed",
        "a#1:lock",
        "a#1:logs",
        "a#1:dependencies",
        "a#1:processed",
        "a#1:failed",
        "a#1:unsuccessful",
    ],
)
def test_ids_that_would_meet_another_key_are_refused(job_id: str) -> None:
    with pytest.raises(InvalidJobId):
        check_job_id(job_id)


@pytest.mark.parametrize("name", ["wait", "own:totals", "a#1:lock", "repeat:x:lock"])
def test_what_belongs_to_the_layout_is_never_taken_for_a_job(name: str) -> None:
    assert not may_be_job(name)


@pytest.mark.parametrize("name", ["meta", "own:totals", "de:x", "metrics:failed", "repeat:x"])
def test_a_key_of_the_queue_itself_is_known(name: str) -> None:
    assert is_own_key(name)


@pytest.mark.parametrize("name", ["lwn#1", "12", "a#1:logs", "repeat:x:1795338000000"])
def test_a_key_that_a_job_may_have_is_not_the_queue_s_own(name: str) -> None:
    assert not is_own_key(name)


@pytest.mark.parametrize("name", ["lwn#1", "12", "a:b"])
def test_any_other_key_may_be_a_job_even_by_an_id_that_only_node_gives(name: str) -> None:
    assert may_be_job(name)


@pytest.mark.parametrize("name", ["", "a:b"])
def test_queue_names_that_node_refuses_are_refused(name: str) -> None:
    with pytest.raises(QueueError):
        QueueKeys("bull", name)


def test_a_hash_tag_in_the_prefix_is_in_every_key() -> None:
    keys = QueueKeys("{bull}", "q")
    slots = [value for name, value in vars(keys).items() if name != "base"]
    assert all(key.startswith("{bull}:q:") for key in [*slots, keys.job("a"), keys.tally("t")])


def test_a_blocking_connection_is_named_as_node_names_its_workers() -> None:
    assert worker_connection_name("bull", "q") == "bull:cQ=="


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("bull:q:17", ("bull", "q", "17")),
        ("bull:q:a:b:c", ("bull", "q", "a:b:c")),
        ("{bull:0}:q:a", ("{bull:0}", "q", "a")),
        ("{bull:1}x:q:a:b:c", ("{bull:1}x", "q", "a:b:c")),
        ("other:q:x:y", ("other", "q", "x:y")),
        ("bull:q", None),
        ("bull:q:", None),
        ("bull::x", None),
        ("x", None),
        ("", None),
    ],
)
def test_a_jobs_key_is_split_at_the_end_of_its_prefix(
    key: str, parts: tuple[str, str, str] | None
) -> None:
    for prefix in ("bull", "{bull:0}"):
        assert split_job_key(key, prefix) == parts


def test_a_prefix_that_is_known_may_hold_colons() -> None:
    assert split_job_key("my:jobs:q:a", "my:jobs") == ("my:jobs", "q", "a")
