"""A push service on loopback: it decrypts what it gets for a browser, as that would, and checks who signed it."""

from __future__ import annotations

import json
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import http_ece
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class PushMessage:
    """A message as the browser `path` would get it, with the claims of its token and its size on the wire."""

    path: str
    payload: dict[str, Any]
    claims: dict[str, Any]
    headers: dict[str, str]
    size: int


class PushService:
    """Serves until it is closed. `answers` holds a status and headers for the next requests of a path."""

    def __init__(self) -> None:
        self.messages: list[PushMessage] = []
        self.answers: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = b"0123456789abcdef"
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = (service.answers.get(self.path) or [(201, {})]).pop(0)
                if status == 201:
                    service.messages.append(service.read_message(self.path, dict(self.headers), body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def describe_subscription(self, path: str) -> dict[str, str]:
        """Describe a browser's subscription at this service."""
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return {"endpoint": f"http://{self.netloc}{path}", "p256dh": encode(point), "auth": encode(self._auth)}

    def read_message(self, path: str, headers: dict[str, str], body: bytes) -> PushMessage:
        text = http_ece.decrypt(body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        token, public_key = (part.strip().partition("=")[2] for part in headers["Authorization"][6:].split(","))
        return PushMessage(path, json.loads(text), read_token(token, decode(public_key)), headers, len(body))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def read_token(token: str, point: bytes) -> dict[str, Any]:
    """Return the claims of a token. Raises `InvalidSignature`."""
    signed_text, _, signature = token.rpartition(".")
    raw = decode(signature)
    numbers = (int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    key.verify(encode_dss_signature(*numbers), signed_text.encode(), ec.ECDSA(hashes.SHA256()))
    claims: dict[str, Any] = json.loads(decode(signed_text.partition(".")[2]))
    return claims
