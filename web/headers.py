"""Headers of every answer: a strict content policy, no sniffing, no framing, and nothing private in a cache; and how long the
server worked at it, which a browser shows beside what the way there took.

A view that needs more sets its own `Content-Security-Policy` or `Cache-Control`; what is set is left alone.
"""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "font-src": "'self'",
    "manifest-src": "'self'",
    "worker-src": "'self'",
    "frame-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}

FIXED = {
    "X-Content-Type-Options": "nosniff",
    # `no-referrer` would make browsers send `Origin: null` with forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


def policy(**changes: str) -> str:
    """The content policy as a header value; `style_src="'self' 'unsafe-inline'"` replaces one rule of it."""
    rules = POLICY | {name.replace("_", "-"): value for name, value in changes.items()}
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def install(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_add)


def _begin() -> None:
    g.began = time.perf_counter()


def _add(response: Response) -> Response:
    for name, value in FIXED.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", policy())
    if request.endpoint != "static":
        response.headers["Server-Timing"] = f"app;dur={1000 * (time.perf_counter() - g.began):.1f}"
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.add("Vary", "Cookie")
    return response
