"""Settings: one frozen object, read once from the environment and from `MC_HOME/config.toml`.

The environment overrides the file, and the file the defaults. Every problem is reported before anything starts, all
together: an unknown key, a bad value, a bind address that would expose the board, limits that would starve ordinary
requests. No other module reads `os.environ`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
import stat
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

from bootstrap import SETTING_PREFIXES, find_home_folder, locate_config_file
from protocol import AGENT_PROGRAMS, MAX_RUN_PORTS

SPARE_THREADS = 8
"""Threads of a web worker reserved for requests other than streams and WebSockets."""

MAX_WRITERS = 8
"""Threads of a web worker that may wait for the write lock, which on PostgreSQL holds a connection of the pool."""

RUN_VARIABLES = frozenset(
    {
        "MC_RUN_ID",
        "MC_RUN_SLUG",
        *(f"MC_PORT_{number}" for number in range(1, MAX_RUN_PORTS + 1)),
        "MC_RUN_DIR",
        "MC_TICKET_ID",
        "MC_TICKET_NONCE",
        "MC_API",
        "MC_API_TOKEN",
        "MC_API_TOKEN_FILE",
    }
)
"""Variables of a run or a program, which are not settings and are accepted."""

SHARED_FOLDER = Path("/var/tmp")  # noqa: S108 - owner and mode of what is made in it are checked
"""Where sockets are without a runtime folder. Not `/tmp`: sandboxes let agents write there, and so reach sockets."""
PASSED_VARIABLES = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TERM", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
    "no_proxy",
)  # fmt: skip
"""Variables that every agent receives unchanged. A profile's allow-list adds to them."""

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\.?\Z")


class SettingsError(Exception):
    """The settings cannot be used. `problems` holds one sentence for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("Mission Control cannot use its settings:\n" + "\n".join(f"  - {line}" for line in problems))
        self.problems = problems


def _split_list(value: object) -> object:
    """Split a list written as one string, as in the environment: `a, b` becomes (a, b)."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _parse_table(value: object) -> object:
    """Parse a table written as JSON, as in the environment."""
    return json.loads(value) if isinstance(value, str) else value


def _is_zone(name: str) -> bool:
    """Return whether a name is one of the IANA database. To list all names, 600 files would be read."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return False
    return not name.startswith(("posix", "right/"))


def _require_zone(name: str) -> str:
    if not _is_zone(name):
        raise ValueError("not a time zone of the IANA database, such as UTC or Europe/Berlin")
    return name


def _require_host(host: str) -> str:
    bare = host.strip("[]")
    if not _is_address(bare) and not _HOST_NAME.match(bare):
        raise ValueError(f"{host!r} is neither an address nor a host name")
    return bare


def _name_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_shared(host: str) -> bool:
    """Return whether other servers of this machine have the same name, as all have on the loopback."""
    return _is_loopback(host) or (_is_address(host) and ipaddress.ip_address(host).is_unspecified)


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_require_host)], ...], BeforeValidator(_split_list)]
PushHosts = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9.:\[\]-]{1,253}$")], ...],
    BeforeValidator(_split_list),
]
StoreUrl = Annotated[str, AfterValidator(_name_driver)]
Zone = Annotated[str, AfterValidator(_require_zone)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Limits(_Frozen):
    """Limits of one run before it is stopped. A profile may set its own."""

    startup_seconds: PositiveInt = Field(60, description="until the agent's first sign of life")
    silence_seconds: PositiveInt = Field(900, description="without any output within a turn")
    turn_seconds: PositiveInt = Field(3600, description="of one turn")
    run_seconds: PositiveInt = Field(14400, description="of a whole run")
    check_seconds: PositiveInt = Field(900, description="of a project's check command")
    answer_seconds: PositiveInt = Field(
        3600, description="a question waits in the live process, without a slot, before it is asked on the ticket"
    )
    grace_seconds: PositiveInt = Field(8, description="between asking a process to stop and killing it")
    spool_bytes: PositiveInt = Field(64 << 20, description="of events kept on disk by one run")
    line_bytes: PositiveInt = Field(1 << 20, description="of one line of an agent's output")


class Budget(_Frozen):
    """Spending limits, unlimited when unset. A run counts on the day it began.

    Days begin at midnight of `timezone`: where a clock change skips midnight, right after the change, and where it doubles
    midnight, at the first. A day is then 23 or 25 hours long and has the same limits. Tokens are those that the model read
    anew or wrote, without those read from a cache.
    """

    run_tokens: PositiveInt | None = Field(None, description="tokens used in one run")
    run_cost_usd: float | None = Field(None, gt=0, description="US dollars spent in one run")
    run_turns: PositiveInt | None = Field(None, description="turns of one run")
    run_minutes: float | None = Field(None, gt=0, description="minutes of one run, after which its ticket is parked")
    ticket_runs: PositiveInt | None = Field(None, description="runs of one ticket")
    ticket_tokens: PositiveInt | None = Field(None, description="tokens used on one ticket")
    ticket_cost_usd: float | None = Field(None, gt=0, description="US dollars spent on one ticket")
    ticket_turns: PositiveInt | None = Field(None, description="turns on one ticket")
    ticket_minutes: float | None = Field(None, gt=0, description="minutes of all runs of one ticket")
    day_runs: PositiveInt | None = Field(None, description="runs started in a day")
    day_tokens: PositiveInt | None = Field(None, description="tokens used in a day")
    day_cost_usd: float | None = Field(None, gt=0, description="US dollars spent in a day")
    day_turns: PositiveInt | None = Field(None, description="turns in a day")
    day_minutes: float | None = Field(None, gt=0, description="minutes of all runs in a day")


class Price(_Frozen):
    """US dollars for a million tokens of a model: `input` without cache reads and writes, which have prices of their own."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float = Field(ge=0)
    cache_write: float = Field(ge=0)

    @property
    def amounts(self) -> str:
        """The four amounts, as the spec of a run holds them."""
        return f"{self.input} {self.output} {self.cache_read} {self.cache_write}"


def _price(input: float, output: float, cache_read: float, cache_write: float) -> Price:
    return Price(input=input, output=output, cache_read=cache_read, cache_write=cache_write)


Prices = Annotated[dict[str, Price], BeforeValidator(_parse_table)]
PRICES_SOURCE = (
    "for Claude the model catalogue of Claude Code 2.1.332 (November 2026), for GPT-5 the list prices of 2025"
)
DEFAULT_PRICES = {
    "claude-haiku-4-5*": _price(1, 5, 0.1, 1.25),
    "claude-sonnet-4*": _price(3, 15, 0.3, 3.75),
    "claude-sonnet-5*": _price(2, 10, 0.2, 2.5),
    "claude-sonnet-5-5*": _price(2, 10, 0.1, 2.5),
    "claude-opus-4-[01]*": _price(15, 75, 1.5, 18.75),
    "claude-opus-4-20*": _price(15, 75, 1.5, 18.75),
    "claude-opus-4-[5678]*": _price(5, 25, 0.5, 6.25),
    "claude-opus-5*": _price(5, 25, 0.5, 6.25),
    "claude-opus-5-5*": _price(4, 20, 0.2, 5),
    "claude-fable-5*": _price(10, 50, 1, 12.5),
    "claude-fable-5-1*": _price(10, 50, 0.25, 12.5),
    "claude-fable-5-2*": _price(8, 40, 0.2, 10),
    "gpt-5": _price(1.25, 10, 0.125, 1.25),
    "gpt-5-codex*": _price(1.25, 10, 0.125, 1.25),
    "gpt-5-mini*": _price(0.25, 2, 0.025, 0.25),
    "gpt-5.1": _price(1.25, 10, 0.125, 1.25),
    "gpt-5.1-codex*": _price(1.25, 10, 0.125, 1.25),
    "gpt-5.1-codex-mini*": _price(0.25, 2, 0.025, 0.25),
}
"""Prices by pattern of the model's name. A model that no pattern matches has no price."""


class Retention(_Frozen):
    """Days for which rows and files are retained after they are no longer needed by a live ticket."""

    ticket_events: PositiveInt = Field(90, description="days an event can be replayed")
    ticket_messages: PositiveInt = Field(365, description="days a conversation is kept")
    queued_messages: PositiveInt = Field(30, description="days a settled message is kept")
    task_runs: PositiveInt = Field(60, description="days a scheduled run is listed")
    heartbeats: PositiveInt = Field(14, description="days a heartbeat is kept")
    inbox_items: PositiveInt = Field(90, description="days a settled inbox item is kept")
    alerts: PositiveInt = Field(30, description="days a delivered alert is listed")
    incidents: PositiveInt = Field(365, description="days a closed incident is kept")
    quarantine: PositiveInt = Field(30, description="days a refused payload is kept")
    runs: PositiveInt = Field(30, description="days the files of an ended run are kept")
    slots: PositiveInt = Field(14, description="days a workspace that could not be cleaned is kept")
    canary: PositiveInt = Field(3, description="days a canary ticket is kept")
    backups: PositiveInt = Field(14, description="days a backup is kept")
    logs: PositiveInt = Field(30, description="days a log file is kept")


class Triage(_Frozen):
    """How the task triage-untriaged treats tickets of the inbox."""

    automatic: bool = Field(
        False, description="whether a ticket that the rules decide goes to To do; otherwise its owner is only proposed"
    )
    owners: Annotated[dict[str, str], BeforeValidator(_parse_table)] = Field(
        {}, description='a table: the owner by tag, as in bug = "codex"'
    )
    file_undecided: bool = Field(
        False, description="whether tickets that the rules cannot decide are filed in the inbox of the orchestrator"
    )


class OperatorThresholds(_Frozen):
    """From when the tasks `operator` and `follow-up-sweep` report something, and whether `operator` may mend it."""

    maintenance: bool = Field(
        False,
        description="whether the operator returns a ticket in progress without a run to To do, beside reporting it",
    )
    health_minutes: PositiveInt = Field(10, description="minutes that a health check fails before an item is filed")
    skipped_hours: PositiveInt = Field(12, description="hours in which every run of a frequent task was skipped")
    stuck_minutes: PositiveInt = Field(30, description="minutes that a ticket is stuck")
    needs_input_hours: PositiveInt = Field(24, description="hours that a question waits for its answer")
    ageing_days: PositiveInt = Field(14, description="days that an open ticket stays in its state, unless it is parked")
    failed_runs: int = Field(3, ge=2, le=100, description="failed runs in a row of one ticket or one agent")
    capacity_minutes: PositiveInt = Field(
        60, description="minutes that tickets wait while none can start, or while their agent is at its limit"
    )
    dirty_hours: PositiveInt = Field(24, description="hours since the last edit of a checkout with uncommitted changes")
    escalation_minutes: PositiveInt = Field(
        60, description="minutes from the comment about a missed check-in to its incident"
    )


SERVE_VARIABLE = "MISSION_CONTROL_SERVE"
"""Holds the instance in the environment of every process below the supervisord of `bin/mc serve`."""


class Ambient(_Frozen):
    """Facts about the process that reads the settings, observed and never configured.

    `environment` is the environment without the settings. No agent receives all of it, see `agent_environment`.
    """

    environment: dict[str, str] = Field(default_factory=lambda: {"PATH": os.defpath}, repr=False)
    board_host: str | None = None
    """Address of the running board, unless the settings specify it. See `Settings.remember_address`."""
    board_port: int | None = None
    run_id: str | None = None
    display: bool = False
    runtime_dir: Path | None = None

    @property
    def is_served(self) -> bool:
        """True for a process below the supervisord of `bin/mc serve`."""
        return SERVE_VARIABLE in self.environment


class _Board(_Frozen):
    """Settings of the board itself: its place, its server, and its work with agents."""

    home: Path = Field(description="folder of everything this instance keeps")
    database_url: StoreUrl = Field(
        default_factory=lambda data: f"sqlite:///{data['home']}/mc.db",
        repr=False,
        pattern=r"^(sqlite:///|postgresql(\+psycopg)?://)",
        description="the store; a file in the home folder, or `postgresql+psycopg://…`",
    )

    host: Hosts = Field(
        ("127.0.0.1",),
        min_length=1,
        description="addresses to listen on, comma-separated; of 127.0.0.1 and ::1 each brings the other with it",
    )
    port: int = Field(3001, ge=1, le=65535, description="port to listen on")
    public_url: str | None = Field(
        None, pattern=r"^https?://[^\s/]+$", description="address people use, where a proxy stands in front"
    )
    trusted_hosts: Hosts = Field((), description="further names that requests may be addressed to")
    behind_tls: bool = Field(False, description="says that TLS or a proxy stands in front; needed to leave loopback")

    web_workers: int = Field(2, ge=1, le=64, description="web worker processes")
    threads: int = Field(32, ge=2, le=1024, description="threads of one web worker")
    request_read_seconds: int = Field(10, ge=1, le=300, description="how long a client may take to send a request")
    sse_max_total_clients: int = Field(8, ge=1, description="event streams of one web worker")
    sse_max_tail_clients: int = Field(4, ge=1, description="log tails of one web worker")
    ws_max_clients: int = Field(4, ge=1, description="WebSockets of one web worker")
    sse_lifetime_seconds: int = Field(300, ge=1, le=300, description="after which a stream is ended and reopened")
    sse_heartbeat_seconds: int = Field(15, ge=1, le=30, description="between signs of life on a silent stream")
    body_limit_bytes: PositiveInt = Field(2 << 20, description="of a request's body, uploads aside")
    attachment_limit_bytes: PositiveInt = Field(25 << 20, description="of one uploaded file")
    attachment_limit_count: PositiveInt = Field(100, description="uploaded files of one ticket")
    session_days: PositiveInt = Field(30, description="an operator stays logged in")

    machine_name: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="name of this machine among those that share a store; another one for each home folder",
    )
    max_workers: int = Field(4, ge=0, le=256, description="agents at work at once; 0 starts none")
    retry_limit: int = Field(3, ge=1, le=20, description="failed attempts before a ticket is blocked")
    retry_backoff_seconds: PositiveInt = Field(60, description="before the first retry; doubled for each further one")
    review_max_diff_lines: PositiveInt = Field(5000, description="a larger diff is left to a person")
    review_rounds: int = Field(
        3, ge=1, le=20, description="change requests of reviewers in a row before a person decides"
    )
    message_expiry_seconds: PositiveInt = Field(1800, description="until an undelivered message to a run expires")
    inbox_lease_seconds: PositiveInt = Field(900, description="until a delivered inbox item is offered again")


def _binary_settings() -> dict[str, Any]:
    """A setting `<name>_binary` for each agent program that is not built in."""
    titles = {name: program.title for name, program in AGENT_PROGRAMS.items() if not program.built_in}
    return {
        f"{name}_binary": (Path | None, Field(None, description=f"the {title} program, where it is not on PATH"))
        for name, title in titles.items()
    }


if TYPE_CHECKING:

    class _Programs(_Board):
        """Settings of the agent programs, which `Settings.binary_of` reads by name."""

else:
    _Programs = create_model("_Programs", __base__=_Board, **_binary_settings())


class Settings(_Programs):
    """All settings of an operator. `load()` creates the one in use, tests create their own."""

    scheduler: bool = Field(True, description="whether `mc serve` also runs the timers")
    timezone: Zone = Field("UTC", description="zone of cron lines, daily budgets and quiet hours")
    quiet_hours: str | None = Field(
        None,
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="when no run is started or resumed, such as 22:00-07:00 by the clock of `timezone`",
    )
    push_hosts: PushHosts = Field(
        ("fcm.googleapis.com", "updates.push.services.mozilla.com", "*.push.apple.com", "*.notify.windows.com"),
        description="push services that alerts may be sent to; a loopback address with its port is one of your own",
    )
    coordinator: str = Field("Luci", min_length=1, max_length=64, description="name of who coordinates the next step")
    telegram_api_url: str = Field(
        "https://api.telegram.org",
        pattern=r"^https?://[^\s/@?#]+$",
        description="server of the Telegram Bot API, the public one or your own",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    limits: Limits = Limits()
    budget: Budget = Budget()
    retention: Retention = Retention()
    triage: Triage = Triage()
    operator: OperatorThresholds = OperatorThresholds()
    prices: Prices = Field(
        {},
        description="a table: US dollars for a million tokens by pattern of the model, beside the defaults on the team page",
    )
    ambient: Ambient = Ambient()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        problems = [*self._check_threads(), *self._check_exposure(), *self._check_quiet_hours()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _check_quiet_hours(self) -> Iterator[str]:
        if self.quiet_hours and len(set(self.quiet_hours.split("-"))) == 1:
            yield f"quiet_hours {self.quiet_hours} begin and end at once: leave the setting out, or pause dispatch"

    @property
    def stream_limit(self) -> int:
        """The long-lived connections of one web worker at most, each of which holds a thread."""
        return self.sse_max_total_clients + self.sse_max_tail_clients + self.ws_max_clients

    @property
    def writer_limit(self) -> int:
        """The threads of one web worker that may wait for the store's write lock: half of those without a stream."""
        return min(MAX_WRITERS, (self.threads - self.stream_limit) // 2)

    def _check_threads(self) -> Iterator[str]:
        total = self.stream_limit
        if self.threads - total < SPARE_THREADS:
            yield (
                f"SSE_MAX_TOTAL_CLIENTS {self.sse_max_total_clients}"
                f" + SSE_MAX_TAIL_CLIENTS {self.sse_max_tail_clients} + WS_MAX_CLIENTS {self.ws_max_clients}"
                f" = {total} of {self.threads} threads leaves fewer than {SPARE_THREADS} for"
                f" ordinary requests: lower them or raise MC_THREADS to {total + SPARE_THREADS}"
            )

    def _check_exposure(self) -> Iterator[str]:
        exposed = [host for host in self.host if not _is_loopback(host)]
        if exposed and not self.behind_tls:
            yield (
                f"MC_HOST {', '.join(exposed)} is reachable from elsewhere: put TLS or a proxy in front"
                " and say so with MC_BEHIND_TLS=true, or listen on 127.0.0.1"
            )

    # ---------------------------------------------------------------------------------------------- derived

    @property
    def instance(self) -> str:
        """Eight hex digits that identify this home, part of every shared name."""
        return hashlib.sha256(os.fsencode(self.home)).hexdigest()[:8]

    @property
    def all_prices(self) -> dict[str, Price]:
        """The defaults, and what the settings add or replace."""
        return {**DEFAULT_PRICES, **self.prices}

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def api_host(self) -> str:
        """The name or address by which programs on this machine reach the server."""
        bound = self.ambient.board_host or self.host[0]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)  # noqa: S104 - not a bind

    @property
    def api_port(self) -> int:
        """The port by which programs on this machine reach the server."""
        return self.ambient.board_port or self.port

    @property
    def api_url(self) -> str:
        """The URL by which programs on this machine reach the server, without a trailing slash."""
        host = self.api_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.api_port}"

    @property
    def plain_hosts(self) -> frozenset[str]:
        """Loopback names, without brackets. Cookies ignore ports, so no browser logs in at a name that others share."""
        return frozenset({"localhost", "127.0.0.1", "::1", *filter(_is_shared, self.host)})

    @property
    def public_hosts(self) -> frozenset[str]:
        """Names and addresses, without port or brackets, that the operator has set for browsers."""
        public = urlsplit(self.public_url).hostname if self.public_url else None
        own = {host for host in self.host if not _is_shared(host)}
        return frozenset({*own, *self.trusted_hosts, *([public] if public else [])})

    @property
    def serves_loopback(self) -> bool:
        """True when a browser of this machine reaches the board on the loopback."""
        return any(map(_is_shared, self.host))

    @property
    def config_file(self) -> Path:
        return locate_config_file(self.home)

    @property
    def secrets_dir(self) -> Path:
        return self.home / "secrets"

    @property
    def tasks_dir(self) -> Path:
        """Folder of the user's own tasks."""
        return self.home / "tasks"

    @property
    def hooks_dir(self) -> Path:
        """Folder of the inbound hooks."""
        return self.home / "hooks"

    @property
    def run_dir(self) -> Path:
        """Locks, process ids and generated configuration of the running instance."""
        return self.home / "run"

    @property
    def address_file(self) -> Path:
        """Host and port of the running board, which its command line may have set."""
        return self.run_dir / "address"

    @property
    def runs_dir(self) -> Path:
        """Folder with a subfolder for each run. See `run_path`."""
        return self.home / "runs"

    @property
    def clones_dir(self) -> Path:
        """Folder of the repositories that were cloned for projects."""
        return self.home / "projects"

    @property
    def landings_dir(self) -> Path:
        """Folder of the temporary work trees of landings."""
        return self.home / "landing"

    def board_token_file(self, run_id: int) -> Path:
        """File of the token with which an orchestrator's run works the board, in a folder that is hidden from agents."""
        return self.board_tokens_dir / str(run_id)

    @property
    def board_tokens_dir(self) -> Path:
        return self.secrets_dir / "board-tokens"

    @property
    def sweeps_dir(self) -> Path:
        """Folder of the temporary work trees in which evidence is verified again."""
        return self.home / "sweep"

    def run_path(self, run_id: int) -> Path:
        return self.runs_dir / str(run_id)

    @property
    def ports_dir(self) -> Path:
        """Folder of the reservations of ports."""
        return self.run_dir / "ports"

    @property
    def worktrees_dir(self) -> Path:
        return self.home / "worktrees"

    @property
    def attachments_dir(self) -> Path:
        return self.home / "attachments"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def backups_dir(self) -> Path:
        return self.home / "backups"

    @property
    def sockets_dir(self) -> Path:
        """Short private folder of sockets, including tmux's (a socket path may have 107 bytes).

        The first program to need it chooses its place, which is stored as a link in the home folder, so that a timer with
        another environment uses the same tmux server. The place of an older installation below `/tmp`, where a sandbox
        may let an agent write, holds only until its folder is gone.
        """
        link = self.run_dir / "sockets"
        target = link.readlink() if link.is_symlink() else None
        holder = target if target and target.parent == Path("/tmp") else target and target.parent  # noqa: S108
        return target if target and holder and holder.is_dir() else self._preferred_sockets()

    def _preferred_sockets(self) -> Path:
        runtime = self.ambient.runtime_dir
        if runtime and runtime.is_dir() and runtime.stat().st_uid == os.getuid():
            return runtime / f"mc-{self.instance}"
        return SHARED_FOLDER / f"mc-{os.getuid()}-{self.instance}"

    def binary_of(self, program: str) -> Path | None:
        """Return the path that is set for an agent program, or None where PATH decides and for a built-in one."""
        binary: Path | None = getattr(self, f"{program}_binary", None)
        return binary

    def agent_environment(self, *names: str) -> dict[str, str]:
        """Return the basic environment of an agent: the variables that every agent receives, and those named."""
        environment = self.ambient.environment
        return {name: environment[name] for name in (*PASSED_VARIABLES, *names) if name in environment}

    def run_socket(self, run_id: int) -> Path:
        """The socket at which the wrapper of a run is notified."""
        return self.sockets_dir / f"run-{run_id}.sock"

    def ensure_home(self) -> None:
        """Create the home folder and its subfolders, accessible to this user only.

        Raises SettingsError where it cannot be written or a folder of it belongs to another user.
        """
        folders = (
            self.home, self.secrets_dir, self.run_dir, self.runs_dir, self.worktrees_dir,
            self.attachments_dir, self.logs_dir, self.backups_dir, self.sockets_dir,
        )  # fmt: skip
        for folder in folders:
            _ensure_private_folder(folder)
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise SettingsError([f"MC_HOME {self.home} cannot be written"])
        _store_link(self.run_dir / "sockets", self.sockets_dir)

    def remember_address(self) -> None:
        """Publish the address of the board to the other programs of this home."""
        new_file = self.address_file.with_name(f".address.{os.getpid()}")
        new_file.write_text(f"{self.host[0]} {self.port}\n")
        new_file.replace(self.address_file)

    def forget_address(self) -> None:
        """Remove the published address when the board has ended, unless it is that of another board."""
        if _read_address(self.address_file) == (self.host[0], self.port):
            self.address_file.unlink(missing_ok=True)


def _ensure_private_folder(path: Path) -> None:
    """Create `path` as a private folder of this user, without following a planted link."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise SettingsError([f"{path} cannot be created: {error.strerror}"]) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SettingsError([f"{path} is not a folder of user {os.getuid()}: remove it or choose another MC_HOME"])


def _store_link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    new_link = link.with_name(f".{link.name}.{os.getpid()}")
    new_link.symlink_to(target)
    new_link.replace(link)


def _read_address(file: Path) -> tuple[str, int] | tuple[None, None]:
    try:
        host, port = file.read_text("utf-8").split()
        return (_require_host(host), int(port)) if 0 < int(port) < 65536 else (None, None)
    except (OSError, ValueError):
        return None, None


# ------------------------------------------------------------------------------------------------- reading


def load(environ: Mapping[str, str] | None = None, home: Path | None = None, *, serves: bool = False) -> Settings:
    """Read the settings. Raises SettingsError naming every problem. `home` overrides MC_HOME.

    The program that `serves` the board chooses its address. Every other one looks for the address of a running board.
    """
    environ = os.environ if environ is None else environ
    home = home.expanduser().resolve() if home else find_home_folder(environ)
    problems: list[str] = []
    values: dict[str, Any] = {"timezone": _find_machine_zone(environ)}
    sources: dict[tuple[str, ...], str] = {}
    for path, value, source in (*_read_file(locate_config_file(home), problems), *_read_environment(environ, problems)):
        sources[path] = source
        _set_value(values, path, value)
    values |= {"home": home, "ambient": _observe(environ) | ({} if serves else _observe_board(home, sources))}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [_format_error(item, sources) for item in error.errors()]
    if problems:
        raise SettingsError(problems)
    return settings


def list_keys() -> dict[tuple[str, ...], str]:
    """List all settings but the home folder, with their path in config.toml and the variable that overrides them."""
    variables: dict[tuple[str, ...], str] = {}
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            variables |= {
                (name, inner): f"MC_{name}_{inner}".upper() for inner in group.model_fields if name != "ambient"
            }
        elif name != "home":
            variables[name,] = name.upper() if name.endswith("_clients") else f"MC_{name}".upper()
    return variables


def _read_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    path_by_variable = {variable: path for path, variable in list_keys().items()}
    passing = RUN_VARIABLES | {"MC_HOME"}
    for name, value in sorted(environ.items()):
        if name in path_by_variable:
            yield path_by_variable[name], value, name
        elif name.startswith("MC_") and name not in passing and not name.startswith("MC_TEST_"):
            problems.append(f"{name} is not a setting; {_suggest_names(name, ['MC_HOME', *path_by_variable])}")


def _read_file(file: Path, problems: list[str]) -> Iterator[tuple[tuple[str, ...], object, str]]:
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{file} cannot be read: {error}")
        return
    paths = list_keys()
    groups = {path[0] for path in paths if len(path) > 1}
    for path, value in _flatten(content, groups):
        if path in paths:
            yield path, value, f"{'.'.join(path)} in {file}"
        else:
            key = ".".join(path)
            problems.append(f"{key} in {file} is not a setting; {_suggest_names(key, ['.'.join(k) for k in paths])}")


def _suggest_names(name: str, candidates: list[str]) -> str:
    """Suggest the nearest names if there are any, else all of them."""
    near = get_close_matches(name, candidates)
    return f"did you mean {' or '.join(near)}?" if near else f"allowed are {', '.join(candidates)}"


def _flatten(content: Mapping[str, object], groups: set[str]) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, value in content.items():
        if name in groups and isinstance(value, dict):
            yield from (((name, inner), leaf) for inner, leaf in value.items())
        else:
            yield (name,), value


def _set_value(values: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for group in path[:-1]:
        values = values.setdefault(group, {})
    values[path[-1]] = value


def _format_error(error: Any, sources: dict[tuple[str, ...], str]) -> str:
    """Format one error with the name of the setting, without the value of the store's URL, which may hold a password."""
    where = tuple(str(part) for part in error["loc"])
    source = next((name for path, name in sources.items() if where[: len(path)] == path), ".".join(where))
    message = error["msg"].removeprefix("Value error, ")
    if not source:
        return str(message)
    return f"{source}: {message}" + ("" if "database_url" in where else f" (it is {error['input']!r})")


def _find_machine_zone(environ: Mapping[str, str]) -> str:
    """Return the time zone of this machine, or UTC."""
    parts = os.path.realpath("/etc/localtime").split("zoneinfo/")
    candidates = (environ.get("TZ", "").lstrip(":"), parts[-1])
    return next((name for name in candidates if name and _is_zone(name)), "UTC")


def _observe(environ: Mapping[str, str]) -> dict[str, object]:
    others = {name: value for name, value in environ.items() if not name.startswith(SETTING_PREFIXES)}
    return {
        "environment": {"PATH": os.defpath} | others,
        "run_id": environ.get("MC_RUN_ID") or None,
        "display": bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")),
        "runtime_dir": environ.get("XDG_RUNTIME_DIR") or None,
    }


def _observe_board(home: Path, sources: Mapping[tuple[str, ...], str]) -> dict[str, object]:
    """Read the address of the running board, as far as the settings do not specify it."""
    host, port = _read_address(home / "run" / "address")
    return {"board_host": None if ("host",) in sources else host, "board_port": None if ("port",) in sources else port}
