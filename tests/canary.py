"""A secret for tests, and the search for the pieces of it that were let through."""

from __future__ import annotations

from collections.abc import Iterator

CANARY = "Zq8-Xv3kP0wLr7TfYb2NdHs9JmUgCe4Ai6OoQx1VtRz5WnKp"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\nAgEAAoIB\n-----END PRIVATE KEY-----\n"
PASSWORD = "s3cret/Word-of-db"
ADDRESS = "postgres://board:s3cret%2FWord-of-db@db.example/board"
PIECE_LENGTH = 8


def list_leaks(content: str | bytes, *secrets: str) -> list[str]:
    """List the pieces of secrets that a content has."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    return [piece for secret in secrets or (CANARY,) for piece in _split(secret) if piece in text]


def put_escape(secret: str) -> str:
    """Put control sequences around and inside a secret, as a program colours its output."""
    return f"\x1b[1m{secret[:20]}\x1b[31;1m{secret[20:]}\x1b[0m"


def _split(secret: str) -> Iterator[str]:
    lines = [line for line in secret.splitlines() if not line.startswith("-----")]
    return (line[start : start + PIECE_LENGTH] for line in lines for start in range(len(line) - PIECE_LENGTH + 1))
