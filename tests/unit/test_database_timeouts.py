"""How long the driver of MongoDB waits."""

import pytest

from shared.store import open_database


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://127.0.0.1:1/x?sockettimeoutms=3000&directConnection=true",
        "mongodb://127.0.0.1:1/x?directConnection=true;socketTimeoutMS=3000",
        "mongodb://u:p[w@127.0.0.1:1/x?socketTimeoutMS=3000",
        "mongodb://u:p%23w@127.0.0.1:1/x?socketTimeoutMS=3000",
    ],
)
def test_timeouts_that_the_url_names_hold_instead_of_ours(url: str) -> None:
    database = open_database(url)
    options = database._client.options
    database.close()
    assert options.pool_options.socket_timeout == 3.0
    assert options.pool_options.connect_timeout == 5.0
    assert options.server_selection_timeout == 5.0
