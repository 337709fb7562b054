"""Words of HTML: its elements, and what a tag may hold."""


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
