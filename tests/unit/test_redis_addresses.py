"""URLs that name several nodes, read as redis-py reads those of one."""

import pytest

from shared.queue.addresses import read_address


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://h", "unix:///run/redis.sock", "h:1"])
def test_a_url_of_one_server_is_left_to_the_driver(url: str) -> None:
    assert read_address(url) is None


def test_sentinels_are_named_with_ports_the_primary_and_its_database() -> None:
    address = read_address("redis+sentinel://one:1,two,[::1]:3/main/5")
    assert address is not None
    assert address.nodes == (("one", 1), ("two", 26_379), ("::1", 3))
    assert (address.service, address.options) == ("main", {"db": 5})


def test_logins_of_redis_and_of_the_sentinels_are_told_apart() -> None:
    address = read_address(
        "redis+sentinel://me:p%2Fq@h@one/main?sentinel_username=s&sentinel_password=t%26u"
    )
    assert address is not None
    assert address.options == {"username": "me", "password": "p/q@h"}
    assert address.sentinel_options == {"username": "s", "password": "t&u"}


def test_tls_and_its_options_are_for_redis_and_its_sentinels() -> None:
    address = read_address("rediss+sentinel://one/main?ssl_cert_reqs=none&socket_timeout=7")
    assert address is not None
    tls = {"ssl": True, "ssl_cert_reqs": "none"}
    assert address.options == {**tls, "socket_timeout": 7.0}
    assert tls.items() <= address.sentinel_options.items()
    assert "socket_timeout" not in address.sentinel_options


def test_nodes_of_a_cluster_have_no_database() -> None:
    address = read_address("rediss+cluster://:pw@one:7000,two/0?ssl_check_hostname=no")
    assert address is not None
    assert address.nodes == (("one", 7000), ("two", 6_379))
    assert address.options == {"ssl": True, "password": "pw", "ssl_check_hostname": False}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+cluster://one:1/2", "one database only"),
        ("redis+cluster://one:1/main", "one database only"),
        ("redis+cluster://one:1?db=2", "one database only"),
        ("redis+sentinel://one:1", "names no primary"),
        ("redis+sentinel://one:1/", "names no primary"),
        ("redis+sentinel://one:1/main/x", "names no primary"),
        ("redis+sentinel://one:1/main/1/2", "names no primary"),
        ("redis+sentinel://one:1,/main", "are not nodes"),
        ("redis+sentinel://one:x/main", "[Pp]ort"),
        ("redis+sentinel://one/main?socket_timeout=long", "socket_timeout"),
    ],
)
def test_a_wrong_url_is_refused_with_what_is_accepted(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_address(url)
