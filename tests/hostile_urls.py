"""Addresses that must never be connected to, in all the ways to write or to reach them."""

# Hosts that spell an address by themselves: refused as soon as they are read.
LITERAL_HOSTS = (
    # loopback
    "127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "127.0.0.1.",
    "2130706433", "0x7f000001", "0x7f.0x0.0x0.0x1", "0x7f.1", "017700000001", "0177.0.0.1",
    "0177.0x0.1", "00000177.1", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127.0.0.1\u00ad",
    "127｡0｡0｡1", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    # this host, whichever it is
    "0", "0.0.0.0", "0x0", "[::]",
    # private and carrier networks
    "10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "3232235777", "100.64.0.1",
    "100.100.100.200", "198.18.0.1", "192.0.0.192", "[fc00::1]", "[fd00:ec2::254]",
    "[::ffff:10.0.0.1]",
    # link-local and metadata
    "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
    "⑯⑨.254.⑯⑨.254", "[fe80::1]", "[::ffff:169.254.169.254]", "168.63.129.16",
    # multicast, broadcast, reserved
    "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "[ff02::1]", "[100::1]",
    # IPv4 in other clothes: compatible, translated, NAT64, 6to4, Teredo, site-local
    "[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001::7f00:1]",
    "[fec0::1]", "[2001:db8::1]",
    # names of this machine
    "localhost", "LocalHost.", "ｌｏｃａｌｈｏｓｔ", "loc\u00adalhost", "feeds.localhost",
    "localhost.localdomain",
)  # fmt: skip

# Whole addresses that say one thing and mean another, or are no web addresses at all.
LITERAL_URLS = (
    "http://public.example@127.0.0.1:{port}/f",
    "http://public.example:80@127.0.0.1:{port}/f",
    "http://a@b@127.0.0.1:{port}/f",
    "http://127.0.0.1:{port}\\@public.example/f",
    "http://public.example\\@127.0.0.1:{port}/f",
    "http://127.0.0.1:{port}#@public.example/f",
    "http://127.0.0.1:{port}?@public.example/f",
    "http://127.0.0.1\t:{port}/f",
    "http://127.0.0.1\r\n:{port}/f",
    "http:\\\\127.0.0.1:{port}/f",
    "http:/127.0.0.1:{port}/f",
    "http:127.0.0.1:{port}/f",
    "//127.0.0.1:{port}/f",
    "HTTP://127.0.0.1:{port}/f",
    " http://127.0.0.1:{port}/f",
    "http://[::1%25lo]:{port}/f",
    "http://[fe80::1%25eth0]:{port}/f",
    "http://%31%32%37.0.0.1:{port}/f",
    "http://127.0.0.1%00.public.example:{port}/f",
    "http://127.0.0.1:22/",
    "http://127.0.0.1:25/",
    "http://127.0.0.1:6379/",
    "http://127.0.0.1:27017/",
    "https://127.0.0.1:{port}/f",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/f",
    "dict://127.0.0.1:{port}/info",
    "ws://127.0.0.1:{port}/f",
    "data:text/xml,<rss/>",
    "javascript:alert(1)",
    "view-source:http://127.0.0.1:{port}/f",
    "feed:http://127.0.0.1:{port}/f",
)

# Names and what a resolver answers for them: always something that may not be connected to.
NAMES: dict[str, list[str]] = {
    "loopback.example": ["127.0.0.1"],
    "loopback6.example": ["::1"],
    "private.example": ["10.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "carrier.example": ["100.64.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "scoped.example": ["fe80::1%lo"],
    "unspecified.example": ["0.0.0.0"],
    "one-of-two.example": ["8.8.8.8", "127.0.0.1"],
    "one-of-two6.example": ["2001:4860:4860::8888", "::1"],
    "trailing.example.": ["127.0.0.1"],
    "127.0.0.1.public.example": ["127.0.0.1"],
}


def literal_urls(port: int) -> list[str]:
    """Return all addresses that are refused by their text, with ``port`` where one is wanted."""
    hosts = [f"http://{host}:{port}/f" for host in LITERAL_HOSTS]
    return hosts + [url.format(port=port) for url in LITERAL_URLS]
