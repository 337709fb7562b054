"""The port that the HTTP server listens on."""

import errno
import socket

from shared.errors import FeedmillError, SettingsError


class PortInUse(FeedmillError):
    """Another program listens where the server is to listen."""


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else starts.

    Raises:
        PortInUse: somebody has it.
        SettingsError: HOST is no address of this machine, or the port needs a right.
    """
    place = f"HOST={host} PORT={port} cannot be used"
    try:
        return _open(host, port)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno == errno.EADDRINUSE:
            raise PortInUse(f"{place}: {reason}; stop what uses it, or set another PORT") from exc
        if exc.errno == errno.EACCES:
            raise SettingsError(f"{place}: {reason}; set PORT to one from 1024 on") from exc
        raise SettingsError(
            f"{place}: {reason}; set HOST to an address of this machine, as 127.0.0.1"
        ) from exc


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, or asyncio leaves Nagle's algorithm on: the body of an answer would
    # wait 40 ms for the client's delayed acknowledgement of the head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
