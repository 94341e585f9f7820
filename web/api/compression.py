"""Compression of pages and their parts, except where the length of an answer would disclose a secret in it (BREACH).

The tokens of forms are masked anew in every answer (`auth.mask_csrf_token`). Not compressed are answers to who is not logged
in, pages with a new token or link, answers that set a cookie, and streams.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request, session
from flask_compress import Compress

import auth

SECRET_BLUEPRINTS = frozenset({"login", "proof", "former_address", "settings_page"})
"""Blueprints whose pages may show a new token, login link or handover link."""

ALGORITHMS = ("zstd", "br", "gzip")


def install(app: Flask) -> None:
    app.config.update(
        COMPRESS_REGISTER=False,
        COMPRESS_MIMETYPES=["text/html"],
        COMPRESS_ALGORITHM=ALGORITHMS,
        COMPRESS_STREAMS=False,
        COMPRESS_EVALUATE_CONDITIONAL_REQUEST=False,
    )
    compress = Compress(app)

    def compress_page(response: Response) -> Response:
        if not _is_compressible(response):
            return response
        _weaken_etag(response)
        response.vary.add("Accept-Encoding")
        return compress.after_request(response) if _accepts_any() else response

    app.after_request(compress_page)


def _is_compressible(response: Response) -> bool:
    is_page = response.mimetype == "text/html" and request.blueprint not in SECRET_BLUEPRINTS
    return is_page and auth.find_caller() is not None and not _sets_cookie(response)


def _accepts_any() -> bool:
    """Return whether the client takes any of the algorithms. Flask-Compress ignores a refusal (`gzip;q=0`)."""
    return any(request.accept_encodings.quality(name) > 0 for name in ALGORITHMS)


def _sets_cookie(response: Response) -> bool:
    """Return whether the answer sets a cookie. Flask adds that of its session after this."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    return "Set-Cookie" in response.headers or app.session_interface.should_set_cookie(app, session)


def _weaken_etag(response: Response) -> None:
    """Make the ETag a weak one, since the bytes differ with the encoding."""
    etag, is_weak = response.get_etag()
    if etag is not None and not is_weak:
        response.set_etag(etag, weak=True)
