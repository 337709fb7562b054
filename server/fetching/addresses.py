"""Which addresses may be fetched, and how a URL is shown without its secrets. Pure.

Text alone cannot decide: a name may resolve to anything. ``check_url`` refuses early what is wrong
in any case; ``is_allowed_address`` decides about every resolved address before a connection.
"""

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Collection
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import idna

from shared.errors import InvalidRequestError
from shared.urls import MASK, mask_query

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 4096

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Networks that the library calls global although they lead inside: translated, tunnelled and
# deprecated forms carry an IPv4 address that nobody vetted; 168.63.129.16 is Azure's host, which
# knows the machine's secrets (learn.microsoft.com, "What is IP address 168.63.129.16?").
_DENIED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24",
        "198.18.0.0/15",
        "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32",
        "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
    )
)  # fmt: skip
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_NUMERIC_HOST = re.compile(r"(?:0[xX][0-9a-fA-F]*|\d+)(?:\.(?:0[xX][0-9a-fA-F]*|\d+)){0,3}\.?")
_HOW_TO_ALLOW = "set FETCH_ALLOW_PRIVATE=true to allow private addresses"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_HOST = re.compile(r"[A-Za-z0-9._-]+")


def check_url(url: str, *, allow_private: bool, extra_ports: Collection[int] = ()) -> str:
    """Return a feed's URL in one spelling: lower-case scheme and host, no default port or fragment.

    Braces stay as they are, for windowed feeds put times there. Credentials stay too; they are sent
    to that origin only.

    Raises:
        InvalidRequestError: not http or https, a malformed host, a port that is not allowed, or a
            private address in any spelling.
    """
    parts = _split(url.strip())
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        found = f", not {scheme!r}" if scheme else ""
        raise InvalidRequestError(f"URL must begin with http:// or https://{found}")
    host = _check_host(parts, allow_private=allow_private)
    port = _check_port(parts, scheme, allow_private=allow_private, extra_ports=extra_ports)
    userinfo, _, _ = parts.netloc.rpartition("@")
    netloc = f"{userinfo}@{host}" if userinfo else host
    if port != DEFAULT_PORTS[scheme]:
        netloc = f"{netloc}:{port}"
    path = _quote(parts.path) or "/"
    return urlunsplit((scheme, netloc, path, _quote(parts.query), ""))


def is_allowed_address(
    address: str, *, allow_private: bool, extra_networks: Collection[IPNetwork] = ()
) -> bool:
    """Return whether a resolved address may be connected to.

    Without ``allow_private`` only globally reachable unicast addresses and those of
    ``extra_networks``; with it loopback and private ones too, but never multicast or unspecified
    ones.
    """
    try:
        ip = _unwrap(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if ip.is_multicast or ip.is_unspecified:
        return False
    if allow_private or any(ip in network for network in extra_networks):
        return True
    if any(ip in network for network in _DENIED_NETWORKS):
        return False
    return ip.is_global and not ip.is_reserved


def explain_refusal(address: str, *, allow_private: bool) -> str:
    """Return which address is refused and why, with the setting that would allow it, if any."""
    if allow_private:
        return f"{address}, which is a multicast or unspecified address: no feed can be there"
    return f"{address}, which is not a public address; {_HOW_TO_ALLOW}"


def explain_port(port: int, *, allow_private: bool) -> str:
    """Return why a port is refused, with the setting that would allow it, if any."""
    if allow_private:
        return f"port {port} is not a port: use 1 to 65535"
    return (
        f"port {port} is not allowed: use 80 or 443; set FETCH_ALLOW_PRIVATE=true to allow any port"
    )


def mask_url(url: str) -> str:
    """Return a URL fit for logs and answers: credentials and secret-looking values masked."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    userinfo, at, host = parts.netloc.rpartition("@")
    netloc = f"{MASK}@{host}" if at and userinfo else parts.netloc
    return mask_query(urlunsplit((parts.scheme, netloc, parts.path, parts.query, "")))


def is_masked(url: str) -> bool:
    """Return whether a URL was shown by :func:`mask_url`, so that something in it is missing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    pairs = parts.query.split("&")
    return parts.netloc.startswith(f"{MASK}@") or any(pair.endswith(f"={MASK}") for pair in pairs)


def _split(url: str) -> SplitResult:
    if not url or len(url) > MAX_URL_LENGTH:
        raise InvalidRequestError(f"URL must have 1 to {MAX_URL_LENGTH} characters")
    if _FORBIDDEN.search(url.partition("?")[0]) or re.search(r"[\x00-\x1f\x7f]", url):
        raise InvalidRequestError("URL must not contain spaces, backslashes or control characters")
    try:
        return urlsplit(url)
    except ValueError:
        # The text of that one may quote user name and password.
        raise InvalidRequestError("URL is malformed: its host is not a host name") from None


def _check_host(parts: SplitResult, *, allow_private: bool) -> str:
    written = parts.hostname
    if not written:
        raise InvalidRequestError("URL must name a host")
    if parts.netloc.count("@") > 1:
        raise InvalidRequestError("URL must not contain more than one @ before its path")
    literal = read_literal_address(written)
    host = _encode_host(written) if literal is None else ""
    # Encoding may bring the address to light: other dots, invisible characters.
    literal = literal or read_literal_address(host)
    if literal is not None:
        if not is_allowed_address(str(literal), allow_private=allow_private):
            what = explain_refusal(str(literal), allow_private=allow_private)
            raise InvalidRequestError(f"URL points at {what}")
        return f"[{literal}]" if literal.version == 6 else str(literal)
    if not allow_private and (host.rstrip(".") in _LOOPBACK_NAMES or _is_local_name(host)):
        raise InvalidRequestError(f"URL points at {host}, which is this machine; {_HOW_TO_ALLOW}")
    return host


def read_literal_address(host: str) -> IPAddress | None:
    """Return the address that a host spells out, in any way the resolver would read; else None.

    Raises:
        InvalidRequestError: a number in the form of an address that is none, or a scoped address.
    """
    text = unicodedata.normalize("NFKC", host).rstrip(".")
    if "%" in text:
        raise InvalidRequestError("URL must not contain an IPv6 address with a scope (%)")
    if ":" in text:
        try:
            return ipaddress.ip_address(text)
        except ValueError as exc:
            raise InvalidRequestError(f"URL's host {host!r} is not an IP address") from exc
    if _NUMERIC_HOST.fullmatch(text) is None:
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except OSError as exc:
        raise InvalidRequestError(f"URL's host {host!r} is not an IP address") from exc


def _check_port(
    parts: SplitResult, scheme: str, *, allow_private: bool, extra_ports: Collection[int]
) -> int:
    try:
        port = parts.port
    except ValueError:
        # Often it is a password, where somebody left out the host.
        raise InvalidRequestError("URL's port is not a number from 0 to 65535") from None
    port = DEFAULT_PORTS[scheme] if port is None else port
    if not is_allowed_port(port, allow_private=allow_private, extra_ports=extra_ports):
        raise InvalidRequestError(f"URL's {explain_port(port, allow_private=allow_private)}")
    return port


def is_allowed_port(port: int, *, allow_private: bool, extra_ports: Collection[int] = ()) -> bool:
    """Return whether a port may be connected to: 80, 443, the extra ones; any when private is."""
    if port in DEFAULT_PORTS.values() or port in extra_ports:
        return True
    return allow_private and 0 < port < 65536


def _encode_host(host: str) -> str:
    text = unicodedata.normalize("NFKC", host).lower()
    if text.isascii():
        encoded = text
    else:
        try:
            encoded = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as exc:
            raise InvalidRequestError(f"URL's host {host!r} is not a host name: {exc}") from exc
    is_name = _HOST.fullmatch(encoded) and ".." not in encoded and not encoded.startswith(".")
    if not is_name or len(encoded) > 253 or any(len(label) > 63 for label in encoded.split(".")):
        raise InvalidRequestError(f"URL's host {host!r} is not a host name")
    return encoded


def _is_local_name(host: str) -> bool:
    return host.rstrip(".").endswith((".localhost", ".localdomain"))


def _unwrap(ip: IPAddress) -> IPAddress:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else ip


def _quote(text: str) -> str:
    return quote(text, safe="!#$%&'()*+,/:;=?@[]~{}|^`\"<>-._")
