"""What to do about an import that failed, by the kind of its error. Pure."""

_ADVICE = {
    "refused_address": "The address leads into a private network or to a port that is not the "
    "web's. If it is yours, start the server with FETCH_ALLOW_PRIVATE=true.",
    "bad_url": "The address is not one that can be fetched: mend it.",
    "dns": "The host's name was not found. Check its spelling; if it is right, wait: the next "
    "fetches look for it again.",
    "connect": "The host does not take connections. If other feeds work, it is the publisher's "
    "to mend; if none does, check this server's network.",
    "tls": "The host's certificate is not in order. Check the address; only the publisher can "
    "mend the rest.",
    "timeout": "The host did not answer in time. It is tried again by itself; for a slow "
    "publisher raise FETCH_TIMEOUT_S. A feed of many slow URLs is better split into several.",
    "http_status": "The host answered with an error. Open the address in a browser: at 401 or 403 "
    "the feed may need a header (its form has a field for that), at 404 it has moved, at 5xx only "
    "waiting helps.",
    "blocked": "The host refuses this reader. Ask the publisher, or give the feed the header that "
    "it wants; asking more often makes it worse.",
    "waf_challenge": "The host asks for a check that only browsers pass. Ask the publisher to "
    "let feed readers in, or look for another address of the feed.",
    "gone": "The publisher says that the feed is gone for good. Look for its new address, or "
    "delete the feed; its items stay.",
    "rate_limited": "The host wants to be asked less often. It is left alone for as long as it "
    "asks; lengthen the feed's interval if this returns.",
    "too_large": "The document is larger than FETCH_MAX_BYTES. Raise that, or take an address "
    "that lists less.",
    "redirect": "The address leads round in circles or nowhere. Open it in a browser, and edit "
    "the feed to where it ends.",
    "encoding": "The answer is packed in a way that cannot be read. Only the publisher can mend "
    "that.",
    "html": "The address answers with a web page. Add it once more as a new feed: the feeds that "
    "the page names are then looked for.",
    "json_error": "The address answers with an error in JSON instead of a feed. Open it in a "
    "browser to read it.",
    "empty": "The answer is empty. If it stays so, look for another address of the feed.",
    "not_a_feed": "What is at the address is no RSS, Atom or JSON feed. Look for the feed's own "
    "address.",
    "damaged": "The document is so damaged that no item of it is whole. Only the publisher can "
    "mend it.",
    "refused": "The document does what no feed needs (entities, depth) and is refused.",
    "limits": "Reading the document took more time or memory than is allowed.",
    "run_lost": "The server that ran this import stopped or hung, each time it was begun. It is "
    "fetched again by itself; look into the log of the servers for why they end.",
    "internal": "This is an error of Feedmill itself; the server's log says more. Please report "
    "it with the feed.",
    "feed_deleted": "The feed was deleted while the import ran. Nothing is to be done.",
    "replay_lost": "The server stopped while it was replaying. The dead letters are still there: "
    "replay them again.",
}


def advise(kind: str | None) -> str | None:
    """Return what an operator can do about an error of this kind, or None when nobody knows."""
    return _ADVICE.get(kind or "")


def advise_by_text(error: str | None) -> str | None:
    """As :func:`advise`, for an error that is only there as text: ``kind: what happened``."""
    return advise(error.partition(":")[0]) if error else None
