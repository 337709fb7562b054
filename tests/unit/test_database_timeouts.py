"""How long the driver of MongoDB waits."""

from shared.store import open_database


def test_timeouts_that_the_url_names_hold_instead_of_ours() -> None:
    database = open_database("mongodb://127.0.0.1:1/x?sockettimeoutms=3000&directConnection=true")
    options = database._client.options
    database.close()
    assert options.pool_options.socket_timeout == 3.0
    assert options.pool_options.connect_timeout == 5.0
    assert options.server_selection_timeout == 5.0
