"""The page at ``/docs``: Swagger UI from an installed package, so that it works offline."""

from importlib.resources import files

from shared.errors import NotFoundError

_ASSETS = {
    "js": ("swagger-ui-bundle.js", "text/javascript"),
    "css": ("swagger-ui.css", "text/css"),
}
DOCS_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'"
    )
}
DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Feedmill API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"><p><a href="openapi.json">openapi.json</a></p></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
DOCS_SCRIPT = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
"""


def read_asset(suffix: str) -> tuple[bytes, str]:
    """Return the content and media type of Swagger UI's ``js`` or ``css``.

    Raises:
        NotFoundError: another suffix.
    """
    if suffix not in _ASSETS:
        raise NotFoundError(f"there is no swagger-ui.{suffix[:20]}")
    name, media_type = _ASSETS[suffix]
    return (files("fastapi_offline") / "static" / name).read_bytes(), media_type
