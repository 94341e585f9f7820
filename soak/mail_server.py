"""A mail server on the loopback that collects what it is sent, with the few commands of SMTP that `smtplib` uses."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from email.message import EmailMessage
from itertools import takewhile
from typing import cast

POLL_SECONDS = 0.05


class MailServer(socketserver.ThreadingTCPServer):
    """A server whose mails are in `mails`, in the order of their arrival."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        super().__init__(("127.0.0.1", 0), MailHandler)
        threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class MailHandler(socketserver.StreamRequestHandler):
    """One connection. Every command is accepted."""

    def handle(self) -> None:
        self._answer(b"220 ready")
        while line := self.rfile.readline():
            command = line.strip().upper()
            if command == b"DATA":
                self._answer(b"354 go on")
                self._receive()
            self._answer(b"221 bye" if command == b"QUIT" else b"250 ok")
            if command == b"QUIT":
                return

    def _receive(self) -> None:
        lines = takewhile(lambda line: line not in (b".\r\n", b""), self.rfile)
        text = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)
        mail = email.message_from_bytes(text, policy=email.policy.default)
        cast("MailServer", self.server).mails.append(mail)

    def _answer(self, line: bytes) -> None:
        self.wfile.write(line + b"\r\n")
