"""Secrets of a home: the key of its forms, the name under which browsers reach its board, and those of alert channels.

Cookies ignore ports, so a board on 127.0.0.1 would have its session cookie sent to every other server of this machine.
Browsers resolve each name below `.localhost` to the loopback, and only those who know this one can be sent its cookie: it
is in no answer, log or environment that others can read.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from settings import Settings

KEY_BYTES = 32
PUSH_CHANNEL = "push"
PRIVATE_PUSH_KEY, PUBLIC_PUSH_KEY = "private_key", "public_key"
HOST_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
HOST_CHARACTERS = 16
HOST_PATTERN = re.compile(rf"mc-[0-9a-f]{{8}}-[a-z2-7]{{{HOST_CHARACTERS}}}\.localhost")


def ensure_key(settings: Settings) -> bytes:
    """Load the key of the form tokens, or create it. Concurrent processes agree on one."""
    file = settings.secrets_dir / "form.key"
    key = _read_or_create(file, lambda: secrets.token_bytes(KEY_BYTES))
    if len(key) != KEY_BYTES:
        raise RuntimeError(f"{file} is damaged. Remove it and start again. Open forms must then be reloaded")
    return key


def ensure_browser_host(settings: Settings) -> str:
    """Load the secret host name of the board for browsers, or create it. Concurrent processes agree on one."""
    file = settings.secrets_dir / "browser-host"
    name = _read_or_create(file, lambda: _make_host_name(settings).encode()).decode("ascii", "replace").strip()
    if not HOST_PATTERN.fullmatch(name):
        raise RuntimeError(f"{file} is damaged. Remove it and start again. Every browser must then log in anew")
    return name


def build_browser_url(settings: Settings) -> str:
    """Build the URL by which browsers reach the board, without a trailing slash."""
    if settings.public_url or not settings.serves_loopback:
        return settings.public_url or settings.api_url
    return f"http://{ensure_browser_host(settings)}:{settings.api_port}"


def read_channel_secrets(settings: Settings, channel: str) -> dict[str, str]:
    """Read the secrets of a channel of alerts, by name. Empty when it has none."""
    try:
        secrets_by_name: dict[str, str] = json.loads(_locate_channel_secrets(settings, channel).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return secrets_by_name


def is_channel_set_up(settings: Settings, channel: str) -> bool:
    """Return whether a channel was set up at this home: its secrets, even if there are none, are in a file here alone."""
    return _locate_channel_secrets(settings, channel).exists()


def write_channel_secrets(settings: Settings, channel: str, secrets_by_name: dict[str, str]) -> None:
    """Replace the secrets of a channel of alerts."""
    file = _locate_channel_secrets(settings, channel)
    _write_private(file, json.dumps(secrets_by_name).encode()).replace(file)


def ensure_push_key(settings: Settings) -> None:
    """Make the key that signs push messages (VAPID). Raises `ImportError` without the extra `push`.

    Browsers are subscribed to this key: with another one, each has to be subscribed anew.
    """
    if PRIVATE_PUSH_KEY in read_channel_secrets(settings, PUSH_CHANNEL):
        return
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    public_key = base64.urlsafe_b64encode(point).rstrip(b"=").decode()
    write_channel_secrets(settings, PUSH_CHANNEL, {PRIVATE_PUSH_KEY: pem.decode(), PUBLIC_PUSH_KEY: public_key})


def read_public_push_key(settings: Settings) -> str | None:
    """Read the public key that browsers subscribe to. None before the channel is set up."""
    return read_channel_secrets(settings, PUSH_CHANNEL).get(PUBLIC_PUSH_KEY)


def back_up_push_key(settings: Settings) -> None:
    """Copy the key of push messages beside the backups of the store."""
    file = _locate_channel_secrets(settings, PUSH_CHANNEL)
    if file.exists():
        target = settings.backups_dir / file.name
        _write_private(target, file.read_bytes()).replace(target)


def _locate_channel_secrets(settings: Settings, channel: str) -> Path:
    return settings.secrets_dir / f"alerts-{channel}.json"


def _make_host_name(settings: Settings) -> str:
    characters = "".join(secrets.choice(HOST_ALPHABET) for _ in range(HOST_CHARACTERS))
    return f"mc-{settings.instance}-{characters}.localhost"


def _read_or_create(file: Path, create: Callable[[], bytes]) -> bytes:
    if not file.exists():
        _write_once(file, create())
    return file.read_bytes()


def _write_once(file: Path, content: bytes) -> None:
    """Write a private file completely, then link it to its name unless another process was faster."""
    new_file = _write_private(file, content)
    try:
        file.hardlink_to(new_file)
    except FileExistsError:
        pass
    finally:
        new_file.unlink()


def _write_private(file: Path, content: bytes) -> Path:
    """Write a file beside another one that only this user can read, and return it."""
    new_file = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    new_file.touch(mode=0o600, exist_ok=False)
    try:
        new_file.write_bytes(content)
    except BaseException:
        new_file.unlink()
        raise
    return new_file
