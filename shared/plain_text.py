"""Plain text from a publisher's HTML: what a browser would show of it, as one line of text.

In time with the length of the text, whatever it holds: no pattern here looks beyond the next ``<``.
"""

import re
from html import unescape
from html.entities import html5

_TOKEN = re.compile(
    r"<!--(?P<comment>)"
    r"|<!\[CDATA\[(?P<cdata>)"
    r"|<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*+)"
    r"(?:\s*+/?+|[\s/](?P<rest>(?:[^<>\"']|\"[^\"<]*+\"|'[^'<]*+')*+|[^<>]*+))>"
)
_REFERENCE = re.compile(
    r"&(?:#[0-9]{1,7}(?![0-9])|#[xX][0-9a-fA-F]{1,6}(?![0-9a-fA-F])|[a-zA-Z][a-zA-Z0-9]{1,31}+);?"
)
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*+)([\s/][^<>]*+)?>")
_TAG_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*+)")
_FOREIGN_ROOT = re.compile(r"<(?:svg|math)\b", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\n\r\f]+")
_BLANKS = re.compile(r"[ \t]{2,}")


def to_plain_text(html: str, *, keep_lines: bool = False) -> str:
    """Return the text that an HTML text shows.

    Elements of HTML go and leave their text, a blank where they break the line; scripts, styles and
    comments go whole. What is no element of HTML stays as it is, so does a lone ``<``. References
    are decoded once. White space is collapsed, but for line breaks where ``keep_lines`` asks so.
    """
    text = _strip(html) if "<" in html else _decode(html)
    if keep_lines:
        return (_BLANKS.sub(" ", text) if "<" in html else text).strip()
    return _SPACES.sub(" ", text).strip(" ")


def escape_unknown_tags(html: str) -> str:
    """Return HTML in which what looks like a tag, but is none, is text: ``List<String>``.

    An unknown tag with attributes is one all the same, though none that is shown.
    """
    if ELEMENTS.issuperset(_TAG_NAME.findall(html)):
        # Ordinary texts: no tag needs a look of its own.
        return html
    has_foreign = _FOREIGN_ROOT.search(html) is not None
    removed: set[str] = set()

    def replace(tag: re.Match[str]) -> str:
        name = tag[1].lower()
        if name in ELEMENTS or (has_foreign and name in FOREIGN):
            return tag[0]
        is_end = tag[0].startswith("</")
        is_bare = not (tag[2] or "").strip("/ ")
        if name in removed if is_end else not is_bare and _are_attributes(tag[2]):
            removed.add(name)
            return "" if name in FOREIGN else tag[0]
        return f"&lt;{tag[0][1:]}"

    return _TAG.sub(replace, html)


def _strip(html: str) -> str:
    closings = _Closings(html)
    parts: list[str] = []
    position = 0
    while (token := _TOKEN.search(html, position)) is not None:
        parts.append(_decode(html[position : token.start()]))
        shown, position = _read_token(html, token, closings)
        parts.append(shown)
    parts.append(_decode(html[position:]))
    return "".join(parts)


class _Closings:
    """Where in a text something ends. What is not found once is not looked for again."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._lowered: str | None = None
        self._missing: set[str] = set()

    def find(self, closing: str, start: int) -> int:
        """Return where ``closing``, in lower case, next stands; -1 where it does not."""
        if closing in self._missing:
            return -1
        if self._lowered is None:
            # Lowering by ASCII alone keeps all positions.
            self._lowered = self._html.translate(_ASCII_LOWER)
        found = self._lowered.find(closing, start)
        if found < 0:
            self._missing.add(closing)
        return found


_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _read_token(html: str, token: re.Match[str], closings: _Closings) -> tuple[str, int]:
    """Return what is shown for a token, and where to read on."""
    if token["comment"] is not None:
        end = closings.find("-->", token.end())
        return ("", end + 3) if end >= 0 else (token[0], token.end())
    if token["cdata"] is not None:
        end = closings.find("]]>", token.end())
        return (html[token.end() : end], end + 3) if end >= 0 else ("", token.end())
    name = token["name"].lower()
    if name not in ELEMENTS or not _are_attributes(token["rest"]):
        # Only its "<" is text for sure.
        return "<", token.start() + 1
    shown = " " if name in BREAKING else ""
    if name in HIDDEN and not token["end"] and not token[0].endswith("/>"):
        end = closings.find(f"</{name}", token.end())
        if end >= 0:
            return shown, end
    return shown, token.end()


def _are_attributes(rest: str | None) -> bool:
    """Return whether what stands in a tag may be attributes: ``a<b and c>d`` holds no tag."""
    if not rest or "=" in rest:
        return True
    words = rest.replace("/", " ").lower().split()
    return all(word.strip("\"'") in BARE_ATTRIBUTES for word in words)


def _decode(text: str) -> str:
    return _REFERENCE.sub(_decode_one, text) if "&" in text else text


def _decode_one(reference: re.Match[str]) -> str:
    written = reference[0]
    if written[1] == "#":
        return unescape(written)
    if written.endswith(";"):
        return html5.get(written[1:], written)
    # Without its semicolon only an old one is meant as one, and not in an address: ?a=1&copy=2.
    follows = reference.string[reference.end() : reference.end() + 1]
    return html5.get(written[1:], written) if follows != "=" else written


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elements of the HTML standard, the obsolete ones too. Whatever else looks like a tag is text.
ELEMENTS = _words(
    """a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big
    blink blockquote body br button canvas caption center cite code col colgroup data datalist dd
    del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame
    frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins isindex kbd
    keygen label legend li link listing main map mark marquee math menu menuitem meta meter
    multicol nav nextid nobr noembed noframes noscript object ol optgroup option output p param
    picture plaintext pre progress q rb rp rt rtc ruby s samp script search section select slot
    small source spacer span strike strong style sub summary sup svg table tbody td template
    textarea tfoot th thead time title tr track tt u ul var video wbr xmp"""
)
# Those between which a browser shows a break.
BREAKING = _words(
    """address article aside blockquote body br caption center dd details dialog dir div dl dt
    fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr
    html legend li listing main menu nav ol option p plaintext pre search section summary table
    tbody td tfoot th thead title tr ul xmp"""
)
# Those whose content is not shown.
HIDDEN = frozenset({"script", "style", "svg", "template"})
# What a sanitiser takes for mathematics or drawing, and drops with all that follows.
FOREIGN = _words(
    """abs and animate annotation apply approx arccos arccosh arccot arccoth arccsc arccsch arcsec
    arcsech arcsin arcsinh arctan arctanh arg bind bvar card cartesianproduct cbytes ceiling
    cerror ci circle cn codomain complexes compose condition conjugate cos cosh cot coth cs csc
    csch csymbol curl declare defs degree desc determinant diff discard divergence divide domain
    domainofapplication ellipse emptyset eq equivalent eulergamma exists exp exponentiale
    factorial factorof false filter floor fn forall g gcd geq grad gt ident imaginary imaginaryi
    implies in infinity int integers intersect interval inverse lambda laplacian lcm leq limit
    line list ln log logbase lowlimit lt maction maligngroup malignmark marker mask matrix
    matrixrow max mean median menclose merror metadata mfenced mfrac mglyph mi min minus
    mlabeledtr mlongdiv mmultiscripts mn mo mode moment momentabout mover mpadded mpath mphantom
    mprescripts mroot mrow ms mscarries mscarry msgroup msline mspace msqrt msrow mstack mstyle
    msub msubsup msup mtable mtd mtext mtr munder munderover naturalnumbers neq none not
    notanumber notin notprsubset notsubset or otherwise outerproduct partialdiff path pattern pi
    piece piecewise plus polygon polyline power primes product prsubset quotient rationals real
    reals rect reln rem root scalarproduct sdev sec sech selector semantics sep set setdiff
    share sin sinh stop subset sum switch symbol tan tanh tendsto text times transpose true
    tspan union uplimit use variance vector vectorproduct view xor"""
)
BARE_ATTRIBUTES = _words(
    """allowfullscreen async autofocus autoplay checked clear compact controls declare default
    defer disabled download formnovalidate hidden inert ismap itemscope loop multiple muted nohref
    nomodule noresize noshade novalidate nowrap open playsinline readonly required reversed
    selected"""
)
