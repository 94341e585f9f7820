"""Alerts as web push (RFC 8030, 8188, 8291, 8292) to the browsers that people have subscribed.

The payload is encrypted for each browser and signed with the key of this home. A push service that no longer knows a browser
has its subscription removed; one that asks to wait makes the channel wait. The service worker (`static/worker.js`) replaces
a notification of the same tag, so an alert that is sent twice is shown once.
"""

from __future__ import annotations

import hashlib
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from database import reading, writing
from models import PushSubscription, now
from redaction import cut_text
from secret_files import PRIVATE_PUSH_KEY
from tickets.alerts import subscriptions
from tickets.alerts.alert import Alert
from tickets.alerts.channels import PushOptions
from workers.host import fetcher, push_services
from workers.host.fetcher import FetchedResponse, FetchError, FetchRule

from .channel import ChannelSetup, SendFailed
from .progress import SendProgress

if TYPE_CHECKING:
    from py_vapid import Vapid02

INSTALL_HINT = (
    "Web push is not installed. Run .venv/bin/python -m pip install -e '.[push]' where Mission Control is installed"
)
MAX_PAYLOAD_BYTES = 3993
"""The rest of the 4,096 bytes that every push service takes, without a header of 86 bytes and 17 for padding and tag."""
BODY_BYTES = (2000, 500, 0)
TOKEN_SECONDS = 12 * 3600
"""Less than the 24 hours after which push services refuse a token."""
TTL_SECONDS = 24 * 3600
"""How long a push service keeps a message for a browser that is offline."""
GONE_CODES = frozenset({404, 410})
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
DEFAULT_WAIT_SECONDS = 60.0
TOPIC_LENGTH = 32


def build_channel(setup: ChannelSetup) -> PushChannel:
    """Build the channel. Raises `SendFailed` without its libraries and without a key."""
    try:
        from py_vapid import Vapid02
    except ImportError:
        raise SendFailed(f"{INSTALL_HINT}.") from None
    key = setup.secrets.get(PRIVATE_PUSH_KEY)
    if key is None:
        raise SendFailed("Web push has no key yet. Save its settings to make one.")
    return PushChannel(setup, PushOptions.model_validate(dict(setup.options)), Vapid02.from_pem(key.encode()))


class PushChannel:
    """Sends each alert to every subscribed browser."""

    name = "push"

    def __init__(self, setup: ChannelSetup, options: PushOptions, signer: Vapid02) -> None:
        self._context = setup.context
        self._log = setup.log
        self._contact = options.contact
        self._signer = signer
        self._progress = SendProgress()

    def send(self, alert: Alert) -> str:
        count = self._send_payload(alert, alert.key, encode_payload(build_payload(alert)))
        return f"{count} browsers" if count != 1 else "1 browser"

    def settle(self, alert: Alert, reference: str, text: str) -> None:
        """Replace the notification by one without actions, as browsers demand one for each message."""
        payload = build_payload(alert) | {"body": text, "actions": [], "silent": True}
        self._send_payload(alert, f"{alert.key}:settled", encode_payload(payload))

    def _send_payload(self, alert: Alert, key: str, payload: bytes) -> int:
        with reading(self._context.engine) as session:
            rows = {str(row.id): row for row in subscriptions.list_subscriptions(session)}
        if not rows:
            raise SendFailed("No browser is subscribed. Subscribe one on the page of alerts.", is_permanent=True)
        self._progress.send_to_all(key, rows, lambda row: self._post(row, alert, payload))
        return len(rows)

    def _post(self, row: PushSubscription, alert: Alert, payload: bytes) -> None:
        headers = self._build_headers(row.endpoint, alert)
        policy = push_services.build_policy(row.endpoint, self._context.settings.push_hosts)
        try:
            body = encrypt_payload(payload, row.p256dh, row.auth)
            response = fetcher.fetch(row.endpoint, method="POST", body=body, headers=headers, policy=policy)
        except ValueError:
            self._prune(row, "its keys are not valid")
        except FetchError as error:
            raise SendFailed(str(error), is_permanent=not error.is_temporary and error.rule != FetchRule.TLS) from None
        else:
            self._judge_response(row, response)

    def _build_headers(self, endpoint: str, alert: Alert) -> dict[str, str]:
        place = urlsplit(endpoint)
        claims = {
            "sub": self._contact,
            "aud": f"{place.scheme}://{place.netloc}",
            "exp": int(time.time()) + TOKEN_SECONDS,
        }
        signature: dict[str, str] = self._signer.sign(claims)
        return {
            **signature,
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(TTL_SECONDS),
            "Urgency": alert.urgency.value,
            "Topic": make_topic(alert),
        }

    def _judge_response(self, row: PushSubscription, response: FetchedResponse) -> None:
        service, status = urlsplit(row.endpoint).netloc, response.status
        if status in GONE_CODES:
            self._prune(row, f"{service} answered {status}")
        elif status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
            wait = parse_retry_after(response.headers.get("retry-after", ""))
            if status == TOO_MANY_REQUESTS and wait is None:
                wait = DEFAULT_WAIT_SECONDS
            raise SendFailed(f"{service} answered {status}.", wait)
        elif not 200 <= status < 300:
            raise SendFailed(f"{service} refused the message with status {status}.", is_permanent=True)

    def _prune(self, row: PushSubscription, reason: str) -> None:
        self._log(f"alerts by push: the subscription of {row.person} was removed: {reason}")
        with writing(self._context.engine) as session:
            subscriptions.prune_subscription(session, row.id)


def build_payload(alert: Alert) -> dict[str, Any]:
    """Build what the service worker shows. The browser decides how many actions fit."""
    choices = alert.question.choices if alert.question else ()
    return {
        "key": alert.key,
        "tag": alert.ticket or make_topic(alert),
        "title": alert.title,
        "body": alert.body,
        "href": alert.path,
        "actions": [{"action": choice.key, "title": choice.label} for choice in choices],
    }


def encode_payload(payload: dict[str, Any]) -> bytes:
    """Encode a payload within the limit, by cutting its body."""
    for limit in BODY_BYTES:
        text = cut_text(payload["body"], limit)
        encoded = json.dumps(payload | {"body": text}, ensure_ascii=False, separators=(",", ":")).encode()
        if len(encoded) <= MAX_PAYLOAD_BYTES:
            return encoded
    return json.dumps(payload | {"body": "", "actions": []}, ensure_ascii=False).encode()[:MAX_PAYLOAD_BYTES]


def encrypt_payload(payload: bytes, p256dh: str, auth: str) -> bytes:
    """Encrypt a payload for a browser with a new key. Raises `ValueError` for keys that are none."""
    import http_ece
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    encrypted: bytes = http_ece.encrypt(
        payload, private_key=key, dh=_decode(p256dh), auth_secret=_decode(auth), version="aes128gcm"
    )
    return encrypted


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def make_topic(alert: Alert) -> str:
    """Make the topic by which a push service replaces a waiting message about the same subject."""
    digest = hashlib.sha256((alert.subject or alert.key).encode()).digest()
    return urlsafe_b64encode(digest).decode()[:TOPIC_LENGTH]


def parse_retry_after(value: str) -> float | None:
    """Parse seconds or an HTTP date. None for anything else."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (TypeError, ValueError):
        return None
