"""Ending the servers of tests."""

import contextlib
import socket
import socketserver


def stop_serving(server: socketserver.TCPServer) -> None:
    """End ``serve_forever`` at once, not when it looks next; the server is yet to be closed."""
    # It wakes up, for there seems to be a connection.
    with contextlib.suppress(OSError):
        server.socket.shutdown(socket.SHUT_RDWR)
    server.shutdown()
