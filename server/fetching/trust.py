"""Whose certificates are trusted: the system's store, and what the environment adds to it.

``SSL_CERT_FILE`` (a file of certificates) and ``SSL_CERT_DIR`` (folders of them, separated as in
``PATH``) are the names that OpenSSL has always read. They add to the system's store, so that a
network's own authority does not take away all others.
"""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2

from shared.errors import SettingsError

FILE_VARIABLE = "SSL_CERT_FILE"
FOLDER_VARIABLE = "SSL_CERT_DIR"
_SUFFIXES = frozenset({".pem", ".crt", ".cer"})
# As OpenSSL names certificates in a folder that it is to look them up in.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def make_ssl_context(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return a context that checks certificates and host names.

    Raises:
        SettingsError: the environment names a file or a folder that holds no certificates.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    file = environment.get(FILE_VARIABLE, "").strip()
    if file:
        _load(context, Path(file), FILE_VARIABLE)
    for folder in environment.get(FOLDER_VARIABLE, "").split(os.pathsep):
        if folder.strip():
            _load_folder(context, Path(folder.strip()))
    return context


def _load_folder(context: ssl.SSLContext, folder: Path) -> None:
    if not folder.is_dir():
        raise SettingsError(f"{FOLDER_VARIABLE}={folder}: must name a folder of certificates")
    context.load_verify_locations(capath=str(folder))
    # OpenSSL finds by itself only what ``openssl rehash`` has named for it.
    for file in _unhashed_files(folder):
        _load(context, file, FOLDER_VARIABLE)


def _unhashed_files(folder: Path) -> Iterator[Path]:
    names = sorted(folder.iterdir())
    if not any(_HASHED_NAME.fullmatch(path.name) for path in names):
        yield from (path for path in names if path.suffix in _SUFFIXES)


def _load(context: ssl.SSLContext, file: Path, variable: str) -> None:
    try:
        context.load_verify_locations(cafile=str(file))
    except OSError as exc:
        # ssl.SSLError is one too; it is told of a file without certificates.
        reason = f"{variable}: {file} must be a readable file of PEM certificates ({exc})"
        raise SettingsError(reason) from exc
