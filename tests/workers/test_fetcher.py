"""Requests to other servers: each rule of the fetcher refuses, against a server on loopback."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workers.host import fetcher
from workers.host.fetcher import FetchError, FetchPolicy, FetchRule, fetch

from .loopback_site import Answer, Site, respond, serving

LOOPBACK = FetchPolicy(private_hosts=("127.0.0.1:*",), schemes=("http",), seconds=60, max_bytes=1000)


def respond_for_ever(head: bytes, piece: bytes) -> Answer:
    """Send bytes until the client has gone; a client without a limit gets a hundred megabytes of a long response."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(head)
            for _ in range(2000):
                handler.wfile.write(piece)
                if len(piece) < 10:
                    pause.wait(0.05)
        except OSError:
            return

    pause = threading.Event()
    return answer


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as running:
        yield running


def refusal(url: str, policy: FetchPolicy, **arguments: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch(url, policy=policy, **arguments)
    return caught.value


def test_a_request_sends_its_arguments_and_nothing_of_the_environment(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    site.answers["/a"] = respond(418, b"tea", Set_Cookie="a=b", X_Kind="pot")

    first, second = (
        fetch(site.url("/a?q=1"), method="POST", body=b"water", headers={"X-Own": "1"}, policy=LOOPBACK)
        for _ in range(2)
    )

    assert first == second
    assert (first.status, first.body, first.headers["x-kind"], first.url) == (418, b"tea", "pot", site.url("/a?q=1"))
    assert "tea" not in repr(first)
    target, headers, body = site.requests[1]
    assert (target, body) == ("POST /a?q=1", b"water")
    assert headers == {
        "Host": f"127.0.0.1:{site.port}",
        "Content-Length": "5",
        "X-Own": "1",
        "User-Agent": "Mission-Control",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


PUBLIC = FetchPolicy(hosts=("example.com", "*.example.org", "127.0.0.1", "localhost"), private_hosts=("10.0.0.1:80",))


@pytest.mark.parametrize(
    ("url", "rule", "text"),
    [
        ("http://example.com/", FetchRule.SCHEME, "must begin with https://, not http"),
        ("file:///etc/passwd", FetchRule.SCHEME, "not file"),
        ("//example.com/", FetchRule.SCHEME, "(nothing)"),
        ("https:///path", FetchRule.URL, "must name a host"),
        ("https://example.com:x/", FetchRule.URL, "must be a URL"),
        ("https://[::1/", FetchRule.URL, "must be a URL"),
        ("https://exämple.com/", FetchRule.URL, "encode others"),
        ("https://example.com/\r\nHost: a", FetchRule.URL, "encode others"),
        ("https://example.com\\@evil.test/", FetchRule.URL, "encode others"),
        ("https://me:secret@example.com/", FetchRule.URL, "no user name or password"),
        ("https://evil.test/", FetchRule.HOST, "Add evil.test to the allowed hosts"),
        ("https://example.com.evil.test/", FetchRule.HOST, "is not allowed"),
        ("https://example.org/", FetchRule.HOST, "is not allowed"),
        ("https://evilexample.org/", FetchRule.HOST, "is not allowed"),
        ("https://example.com:8443/", FetchRule.HOST, "Add example.com:8443"),
        ("https://10.0.0.1/", FetchRule.HOST, "is not allowed"),
        ("https://[::1]:99/", FetchRule.HOST, "Add [::1]:99"),
        ("https://127.0.0.1/", FetchRule.ADDRESS, "private or loopback"),
        ("https://localhost/", FetchRule.ADDRESS, "private or loopback"),
    ],
)
def test_an_address_outside_the_policy_is_refused_before_any_connection(url: str, rule: FetchRule, text: str) -> None:
    error = refusal(url, PUBLIC)
    assert error.rule is rule
    assert text in str(error)
    assert "secret" not in str(error)
    assert not error.is_temporary


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("64:ff9b:1::7f00:1", False),
        ("fec0::1", False),
        ("5f00::1", False),
    ],
)
def test_public_addresses_are_told_from_those_of_this_machine_and_its_networks(address: str, public: bool) -> None:
    assert fetcher.is_public(address) is public


def test_the_name_is_resolved_once_and_every_address_of_it_is_judged(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, names, answers = socket.getaddrinfo, [], ["127.0.0.1"]

    def answer(host: str, port: int, *args: Any, **options: Any) -> Any:
        if not host.endswith(".test"):
            return resolve(host, port, *args, **options)
        names.append(host)
        return [entry for address in answers for entry in resolve(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    site.answers["/"] = respond(body=b"yes")
    policy = replace(LOOPBACK, private_hosts=("inside.test:*",), hosts=("*.outside.test:*",))
    assert fetch(site.url("", host="inside.test"), policy=policy).body == b"yes"
    assert names == ["inside.test"]
    assert site.requests[0][1]["Host"] == f"inside.test:{site.port}"

    answers[:] = ["93.184.216.34", "127.0.0.1"]
    assert refusal(site.url("/", host="a.outside.test"), policy).rule is FetchRule.ADDRESS
    assert len(site.requests) == 1


def test_redirects_are_judged_hop_by_hop_and_secrets_stay_at_their_server(site: Site) -> None:
    site.answers["/end"] = respond(body=b"end")
    site.answers["/here"] = respond(302, Location="/end")
    secret = {"Authorization": "Bearer abc", "Accept": "text/plain"}
    once = replace(LOOPBACK, max_redirects=1)

    response = fetch(site.url("/here"), headers=secret, policy=once)
    assert (response.body, response.url) == (b"end", site.url("/end"))
    assert site.requests[-1][1]["Authorization"] == "Bearer abc"
    assert "only 0 redirects" in str(refusal(site.url("/here"), LOOPBACK))
    site.answers["/loop"] = respond(302, Location="/loop")
    assert refusal(site.url("/loop"), once).rule is FetchRule.REDIRECT
    assert len([target for target, *_ in site.requests if target == "GET /loop"]) == 2
    site.answers["/away"] = respond(302, Location="http://169.254.169.254/latest")
    assert refusal(site.url("/away"), once).rule is FetchRule.HOST
    site.answers["/broken"] = respond(302, Location="http://[::")
    assert refusal(site.url("/broken"), once).rule is FetchRule.URL

    with serving(Site()) as other:
        other.answers["/end"] = respond(body=b"other")
        for status in (303, 307):
            site.answers["/other"] = respond(status, Location=other.url("/end"))
            if status == 303:
                assert fetch(site.url("/other"), method="POST", body=b"x", headers=secret, policy=once).body == b"other"
            else:
                error = refusal(site.url("/other"), once, method="POST", body=b"x")
                assert (error.rule, "with content" in str(error)) == (FetchRule.REDIRECT, True)
        ((target, headers, body),) = other.requests
    assert (target, body, headers["Accept"], "Authorization" in headers) == ("GET /end", b"", "text/plain", False)


def test_a_response_is_limited_in_size_and_time_and_must_be_whole(site: Site) -> None:
    site.answers["/full"] = respond(body=b"a" * 1000)
    assert len(fetch(site.url("/full"), policy=LOOPBACK).body) == 1000
    site.answers["/large"] = respond(body=b"a" * 1001)
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    site.answers["/endless"] = respond_for_ever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)
    for path in ("/large", "/endless"):
        error = refusal(site.url(path), LOOPBACK)
        assert (error.rule, "larger than 1,000 bytes" in str(error)) == (FetchRule.SIZE, True)

    site.answers["/packed"] = respond(body=b"\x1f\x8b", Content_Encoding="gzip")
    assert refusal(site.url("/packed"), LOOPBACK).rule is FetchRule.ENCODING
    site.answers["/short"] = lambda handler: handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    error = refusal(site.url("/short"), LOOPBACK)
    assert (error.rule, error.is_temporary) == (FetchRule.CONNECTION, True)
    site.answers["/garbage"] = lambda handler: handler.wfile.write(b"garbage\r\n\r\n")
    assert "no readable response" in str(refusal(site.url("/garbage"), LOOPBACK))

    site.answers["/head"] = respond_for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"a")
    site.answers["/body"] = respond_for_ever(b"HTTP/1.1 200 OK\r\n\r\n", b"a")
    for path in ("/head", "/body"):
        error = refusal(site.url(path), replace(LOOPBACK, seconds=0.2, max_bytes=10_000))
        assert (error.rule, "within 0.2 seconds" in str(error)) == (FetchRule.TIME, True)


def test_a_slow_resolver_ends_with_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver_end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: resolver_end.wait(60))
    assert refusal("http://127.0.0.1:1/", replace(LOOPBACK, seconds=0.05)).rule is FetchRule.TIME
    resolver_end.set()


def test_an_error_shows_no_secret_of_the_address(unused_port: int) -> None:
    url = f"http://127.0.0.1:{unused_port}/bot123:SECRET/getMe?key=SECRET#SECRET"
    error = refusal(url, LOOPBACK)
    assert str(error).startswith(f"http://127.0.0.1:{unused_port}/… gave no readable response (Connection refused)")
    assert error.__suppress_context__
    shown_error = refusal(url.replace("bot123:SECRET", "status"), replace(LOOPBACK, shows_path=True))
    assert f"{unused_port}/status/getMe gave" in str(shown_error)
    assert "SECRET" not in f"{error}{shown_error}"


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound but not listened on, so that nobody else opens it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_the_certificate_is_verified_for_the_name(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.answers["/"] = respond(body=b"secure")
    site.answers["/down"] = respond(302, Location=site.url("/"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(tmp_path))
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    policy = replace(LOOPBACK, private_hosts=("127.0.0.1:*", "localhost:*"), schemes=("https", "http"), max_redirects=1)
    url = f"https://127.0.0.1:{site.port}"

    assert (error := refusal(f"{url}/", policy)).rule is FetchRule.TLS
    assert "self-signed" in str(error)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "both.pem"))
    assert fetch(f"{url}/", policy=policy).body == b"secure"
    assert site.requests[-1][1]["Host"] == f"127.0.0.1:{site.port}"
    assert refusal(f"https://localhost:{site.port}/", policy).rule is FetchRule.TLS
    assert "from https to http" in str(refusal(f"{url}/down", policy))


def write_certificate(folder: Path) -> Path:
    """Write key and self-signed certificate of 127.0.0.1 into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).add_extension(names, critical=False)
    lifetime = datetime.timedelta(days=1)
    certificate = builder.not_valid_before(now - lifetime).not_valid_after(now + lifetime).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(private + certificate.public_bytes(pem))
    return folder / "both.pem"
