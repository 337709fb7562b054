"""Which setting a server names that cannot listen, and what it advises."""

import re
import socket

import pytest

from server.listening import PortInUse, listen
from shared.errors import SettingsError


def test_a_port_that_somebody_has_is_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = f"HOST=127.0.0.1 PORT={port} cannot be used: Address already in use; stop what uses"
        with pytest.raises(PortInUse, match=re.escape(said)):
            listen("127.0.0.1", port)


# Addresses for documentation (RFC 5737, RFC 3849).
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_a_host_that_is_not_this_machine_s_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(SettingsError, match=f"^HOST={host} PORT=0 .*; set HOST to an address"):
        listen(host, 0)
