"""Texts of agents, programs and checks: control characters are stripped, then secrets redacted, and only then is cut.

Imports the standard library alone, as wrappers and the MCP server of a run use it. They know the values of the run's
secrets, the board knows the shapes of well-known tokens and of passwords in URLs.
"""

from __future__ import annotations

import json
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import IO, Any, Literal
from urllib.parse import unquote

REDACTION_MARK = "[redacted]"
OMISSION_MARK = " [... left out ...] "
"""Stands where a text was cut before its secrets were known: what is left of one on either side is removed."""
_OMISSION_PATTERN = re.compile(rf" ?{re.escape(OMISSION_MARK.strip())} ?")
MIN_SECRET_LENGTH = 8
"""Shorter values would match everywhere in an agent's output."""
MIN_PASSWORD_LENGTH = 6
MAX_RESIDUE_LENGTH = 8
MIN_REMAINDER_LENGTH = 4
"""What may be left of a control sequence that was cut, and how much of a secret must then be beside it."""
READ_MARGIN_BYTES = 64 * 1024
"""How much more than its end is read of a file, so that no secret is cut."""

Keep = Literal["start", "end", "both"]
Spans = list[tuple[int, int]]

_CONTROL_PATTERN = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS and other strings with their terminator
    r"|\x1b[ -/]*[0-~]?"  # two-letter escapes and a bare ESC
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # C0 but tab and newline, DEL, C1
)
_OPEN_CONTROL = re.compile(r"(?:\r|\x1b(?:\[[0-?]*[ -/]*|[\]P^_X][^\x07\x1b]{0,4096}\x1b?|[ -/]*)?)\Z")
"""A control sequence at the end of a text that the next piece of its stream may continue."""

_TOKEN_SHAPES = {
    "AKIA": r"[A-Z0-9]{16}",
    "ASIA": r"[A-Z0-9]{16}",
    "AIza": r"[\w-]{35}",
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_", "hf_"), r"[A-Za-z0-9]{30,255}"),
    "github_pat_": r"\w{22,255}",
    "glpat-": r"[\w-]{20,255}",
    "pypi-": r"[\w-]{50,500}",
    **dict.fromkeys(("sk_live_", "sk_test_", "rk_live_"), r"[A-Za-z0-9]{16,255}"),
    "sk-": r"[\w-]{20,255}",
    **dict.fromkeys(("xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-", "xapp-"), r"[A-Za-z0-9-]{10,255}"),
    "SG.": r"[\w-]{16,64}\.[\w-]{16,64}",
    "eyJ": r"[\w-]{10,512}+\.eyJ[\w-]{10,4096}+\.[\w-]{10,1024}",
    **dict.fromkeys(("mc_", "mcb_"), r"[\w-]{43}(?![\w-])"),
}
"""How the tokens of well-known services begin, and how they go on. Agents write what is searched, so no pattern backtracks far."""
_WORD_STARTS = frozenset({"sk-"})
"""A token that begins like a word has a digit."""
_KEY_START = "-----BEGIN "
_KEY_HEAD = r"[A-Z ]{0,40}PRIVATE KEY-----"
_KEY_BODY = r"(?:\n-(?=[\nA-Za-z0-9+/=])|Proc-Type: 4|DEK-Info: [A-Z0-9-]{1,40}|[^-])"
"""A character of a key, the minus before a line that a patch removes, or the hyphens in the head of an encrypted key."""
_URL_STARTS = ("://", r":\/\/")
"""As it is, and as some programs write it in JSON."""
_URL_LOGIN = re.compile(r":(?://|\\/\\/)[^\s/:@\"'<>]{0,255}:(?!\$)(?P<secret>[^\s/\"'<>]{1,255})@")
_SHAPES = {
    **{start: re.compile(re.escape(start) + rest, re.ASCII) for start, rest in _TOKEN_SHAPES.items()},
    _KEY_START: re.compile(
        rf"{_KEY_START}{_KEY_HEAD}{_KEY_BODY}{{1,16384}}(?:-----END [A-Z ]{{0,40}}PRIVATE KEY-----)?"
    ),
    **dict.fromkeys(_URL_STARTS, _URL_LOGIN),
}
"""By their beginnings, since a text is searched for these much faster than for the shapes."""
_ESCAPE_END = re.compile(r"(?:\\(?:[bfnrt]|u[0-9A-Fa-f]{4})|%[0-9A-Fa-f]{2})\Z")
"""The end of an escape sequence of JSON or of a URL, which ends with a letter or digit and is no part of a word."""
_OPEN_ESCAPE = re.compile(r"(?:\\(?:u[0-9A-Fa-f]{0,3})?|%[0-9A-Fa-f]?)\Z")
"""The beginning of one, by which the next piece of a stream is judged."""
_ESCAPE_LENGTH = 6
_TOKEN_CHARACTERS = f"{string.ascii_letters}{string.digits}_.-"
_TOKEN_START = re.compile(f"(?={'|'.join(map(re.escape, _TOKEN_SHAPES))})")
_OPEN_SHAPES = {
    _KEY_START: re.compile(rf"{_KEY_START}(?:[A-Z ]{{0,60}}-{{0,5}}|{_KEY_HEAD}(?:[^-]|-(?!----))*)\Z"),
    **{start: re.compile(rf"{re.escape(start)}[^\s/\"'<>]*\Z") for start in _URL_STARTS},
}
"""Shapes at the end of a text that the next piece of its stream may complete, beside tokens."""
_OPEN_LENGTH = 16_500
_BEGINNINGS = frozenset(start[:length] for start in _SHAPES for length in range(1, len(start)))
_LONGEST_BEGINNING = max(map(len, _BEGINNINGS))


def strip_controls(text: str) -> str:
    """Remove terminal control sequences from a text and make it encodable as UTF-8. None reaches across an omission."""
    if OMISSION_MARK in text:
        return OMISSION_MARK.join(map(strip_controls, text.split(OMISSION_MARK)))
    text = _CONTROL_PATTERN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def cut_text(text: str, limit: int, keep: Keep = "start") -> str:
    """Cut a clean text to at most `limit` bytes of UTF-8, between characters. Of `both` ends, the middle is left out."""
    encoded = text.encode("utf-8", "replace") if len(text) * 4 > limit else b""
    if len(encoded) <= limit:
        return text
    match keep:
        case "start":
            return encoded[:limit].decode("utf-8", "ignore")
        case "end":
            return encoded[-limit:].decode("utf-8", "ignore")
        case "both":
            size = (limit - len(OMISSION_MARK)) // 2
            return OMISSION_MARK.join(end.decode("utf-8", "ignore") for end in (encoded[:size], encoded[-size:]))


def omit_start(text: str, limit: int) -> str:
    """Return the last `limit` characters of a text whose secrets are redacted later, with the mark of an omission."""
    return text if len(text) <= limit else OMISSION_MARK + text[-limit:]


def find_url_passwords(text: str) -> set[str]:
    """Find the passwords of the URLs in a text, as they are written and as they are sent."""
    passwords = {match["secret"] for match in _URL_LOGIN.finditer(text)}
    return {
        word for password in passwords for word in (password, unquote(password)) if len(word) >= MIN_PASSWORD_LENGTH
    }


class Redaction:
    """The secrets of a run: each value, the lines of a long one, the passwords of URLs, also as JSON writes them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        values = {part for secret in secrets if secret for part in _split_secret(secret)}
        self._secrets = sorted({form for value in values for form in _list_forms(value)}, key=len, reverse=True)

    def clean_text(self, text: str, limit: int | None = None, keep: Keep = "start") -> str:
        """Strip control characters, redact secrets and then cut a text to `limit` bytes."""
        clean = self.redact_text(strip_controls(text))
        return clean if limit is None else cut_text(clean, limit, keep)

    def redact_text(self, text: str) -> str:
        """Redact the secrets in a text whose control characters must stay, such as a patch."""
        clean = _replace_spans(text, self._find_spans(text))
        return self._trim_omissions(clean) if OMISSION_MARK.strip() in clean else clean

    def redact_lines(self, lines: Sequence[str]) -> list[str]:
        """Redact the secrets in the lines of a text, as many as there were. A secret may have several."""
        text = "\n".join(lines)
        return _replace_spans(text, _split_spans(text, self._find_spans(text))).split("\n")

    def clean_cut_text(self, text: str) -> str:
        """Clean a text that may end within a secret."""
        overlap = max((measure_overlap(text, secret) for secret in self._secrets), default=0)
        is_torn = overlap >= MIN_SECRET_LENGTH
        return self.clean_text(text[: len(text) - overlap]) + REDACTION_MARK if is_torn else self.clean_text(text)

    def clean_value(self, value: Any) -> Any:
        """Clean every text of a JSON value, with its keys. A member of an enumeration is a word of our own."""
        if isinstance(value, Enum):
            return value
        if isinstance(value, str):
            return self.clean_text(value)
        if isinstance(value, Mapping):
            return {self.clean_text(str(key)): self.clean_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(item) for item in value]
        return value

    def clean_fields(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Clean the values of a record, whose keys are our own even where a secret is the same word."""
        return {key: self.clean_value(item) for key, item in record.items()}

    def read_tail(self, file: IO[bytes], limit: int) -> str:
        """Read the clean end of a file, of at most `limit` bytes."""
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - limit - READ_MARGIN_BYTES)
        file.seek(start)
        text = file.read(size - start).decode("utf-8", "ignore" if start else "replace")
        return self.clean_text(OMISSION_MARK + text if start else text, limit, "end")

    def clean_file(self, content: bytes) -> bytes:
        """Return the content of a file, as plain text if there is a secret in it. Raises ValueError where it is no text."""
        try:
            text = strip_controls(content.decode("utf-8"))
        except UnicodeDecodeError:
            if self.has_secret(content.decode("latin-1")):
                raise ValueError("it contains a secret and is not plain text") from None
            return content
        clean = self.clean_text(text)
        return content if clean == text else clean.encode()

    def has_secret(self, text: str) -> bool:
        return bool(self._find_spans(text))

    def find_open_end(self, text: str) -> int:
        """Find where an end of a stripped text begins that may become a secret with the next piece of its stream."""
        overlap = max((measure_overlap(text, secret[:-1]) for secret in self._secrets), default=0)
        start = len(text) - max(overlap, _measure_open_shape(text))
        escape = _OPEN_ESCAPE.search(text, max(0, start - _ESCAPE_LENGTH), start)
        start = escape.start() if escape else start
        return next((begin for begin, end in self._find_spans(text) if begin < start < end), start)

    def _find_spans(self, text: str) -> Spans:
        """Find the places of secrets in order. Those that overlap are one."""
        spans = [span for secret in self._secrets if secret in text for span in _find_all(text, secret)]
        spans += [span for start in _SHAPES if start in text for span in _find_shapes(text, start)]
        merged: Spans = []
        for begin, end in sorted(spans):
            if merged and begin < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged

    def _trim_omissions(self, text: str) -> str:
        """Remove the start of a secret before each omission, and the end of one after it."""
        first, *others = _OMISSION_PATTERN.split(text)
        parts = [first]
        for part in others:
            start = max((_measure_remainder(parts[-1], secret) for secret in self._secrets), default=0)
            end = max((_measure_remainder(part[::-1], secret[::-1]) for secret in self._secrets), default=0)
            parts[-1] = parts[-1][: len(parts[-1]) - start]
            parts.append(part[end:])
        return OMISSION_MARK.join(parts)


SHAPES = Redaction()
"""The redaction of what comes from a program whose secrets are not known here."""


class StreamRedaction:
    """The redaction of a text that comes in pieces. What may be the beginning of a secret waits for the next piece."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._pending = ""

    def feed(self, piece: str) -> str:
        """Return the clean text that can be shown now. It may be cut anywhere."""
        text = self._pending + piece
        control = _OPEN_CONTROL.search(text)
        whole = strip_controls(text[: control.start()] if control else text)
        ready = self._redaction.find_open_end(whole)
        self._pending = whole[ready:] + (control[0] if control else "")
        return self._redaction.clean_text(whole[:ready])

    def close(self) -> str:
        """Return the rest of an ended stream, without the beginning of a secret that was cut off by the end."""
        text, self._pending = self._pending, ""
        return self._redaction.clean_cut_text(strip_controls(text))


def read_run_secrets(spec: bytes) -> tuple[str, ...]:
    """Read the secrets of a run from the content of its `spec.json`. Raises ValueError where there are none."""
    data = json.loads(spec)
    if not isinstance(data, dict) or not isinstance(data.get("secrets"), list):
        raise ValueError("the spec of the run names no secrets")
    return tuple(str(value) for value in (data.get("token"), data.get("nonce"), *data["secrets"]) if value)


def measure_overlap(text: str, following: str) -> int:
    """Return how many characters at the end of `text` are the start of `following`."""
    end = text[-len(following) :]
    place = end.find(following[:1])
    while place >= 0 and not following.startswith(end[place:]):
        place = end.find(following[:1], place + 1)
    return len(end) - place if place >= 0 else 0


def _measure_remainder(text: str, secret: str) -> int:
    """Return how many characters at the end of `text` are the start of `secret`, with what is left of a control sequence."""
    rests = range(min(MAX_RESIDUE_LENGTH, len(text)) + 1)
    lengths = ((rest, measure_overlap(text[: len(text) - rest], secret)) for rest in rests)
    return max(rest + length for rest, length in lengths if length >= MIN_REMAINDER_LENGTH or not rest)


def _split_secret(secret: str) -> set[str]:
    """List what is secret of a value: all of it, each of its lines that is long enough, and the passwords of URLs."""
    plain = strip_controls(secret)
    lines = {line.strip() for line in plain.splitlines() if len(line.strip()) >= MIN_SECRET_LENGTH}
    return {plain.strip() or plain, *lines, *find_url_passwords(plain)}


def _list_forms(value: str) -> set[str]:
    """List a value as it is and as JSON writes it, once and in a text that is JSON itself."""
    once = json.dumps(value)[1:-1]
    return {value, once, json.dumps(once)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}


def _find_shapes(text: str, start: str) -> Spans:
    """Find the secrets whose shape begins with `start`. A token does not begin within a word."""
    spans, pattern, place = [], _SHAPES[start], text.find(start)
    while place >= 0:
        is_inside = start in _TOKEN_SHAPES and _is_within_word(text, place)
        match = None if is_inside else pattern.match(text, place)
        if match and (start not in _WORD_STARTS or any(map(str.isdigit, match[0]))):
            spans.append(match.span("secret" if "secret" in pattern.groupindex else 0))
        place = text.find(start, match.end() if match else place + 1)
    return spans


def _is_within_word(text: str, place: int) -> bool:
    """Return whether a letter or digit of a word stands before a place. Languages without spaces write tokens beside their letters."""
    before = text[max(0, place - _ESCAPE_LENGTH) : place]
    return before[-1:].isascii() and before[-1:].isalnum() and not _ESCAPE_END.search(before)


def _measure_open_shape(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a shape."""
    window = text[-_OPEN_LENGTH:]
    lengths = range(min(_LONGEST_BEGINNING, len(text)), 0, -1)
    beginning = next((length for length in lengths if _is_beginning(text, len(text) - length)), 0)
    return max(len(window) - _find_open_shape(window), beginning)


def _find_open_shape(text: str) -> int:
    """Find where a shape begins that reaches the end of a text, or its end. Each part of the text is searched once."""
    word = len(text.rstrip(_TOKEN_CHARACTERS))
    starts = (match.start() for match in _TOKEN_START.finditer(text, word))
    token = next((place for place in starts if not _is_within_word(text, place)), len(text))
    ends = ((text.rfind(start), pattern) for start, pattern in _OPEN_SHAPES.items())
    return min([token, *(place for place, pattern in ends if place >= 0 and pattern.match(text, place))])


def _is_beginning(text: str, place: int) -> bool:
    """Return whether the rest of a text may be the beginning of a shape. A token does not begin within a word."""
    return text[place:] in _BEGINNINGS and not (text[place].isalnum() and _is_within_word(text, place))


def _find_all(text: str, secret: str) -> Spans:
    spans, start = [], text.find(secret)
    while start >= 0:
        spans.append((start, start + len(secret)))
        start = text.find(secret, start + 1)
    return spans


def _split_spans(text: str, spans: Spans) -> Spans:
    """Split spans at the ends of lines."""
    return [
        (begin + line.start(), begin + line.end())
        for begin, end in spans
        for line in re.finditer(r"[^\n]+", text[begin:end])
    ]


def _replace_spans(text: str, spans: Spans) -> str:
    """Replace the spans of a text by the mark of a redaction."""
    parts, position = [], 0
    for begin, end in spans:
        parts += [text[position:begin], REDACTION_MARK]
        position = end
    return "".join([*parts, text[position:]]) if parts else text
