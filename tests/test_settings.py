from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from cli.reference import render_settings
from protocol import AGENT_PROGRAMS
from settings import DEFAULT_PRICES, Ambient, Settings, SettingsError, list_keys, load
from tickets.shared.limits import BUDGETS, USAGE_MEASURES

ROOT = Path(__file__).resolve().parent.parent


def private(home: Path) -> Settings:
    """Settings whose sockets stay beside the home folder."""
    return Settings(home=home, ambient=Ambient(runtime_dir=home.parent))


def problems(environ: dict[str, str], home: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load({"MC_HOME": str(home), **environ})
    return caught.value.problems


def test_the_home_folder_and_the_store_in_it_have_defaults(tmp_path: Path) -> None:
    settings = load({"HOME": str(tmp_path)})

    assert settings.home == tmp_path / ".local/share/mission-control"
    assert settings.database_url == f"sqlite:///{settings.home}/mc.db"
    assert settings.api_url == "http://127.0.0.1:3001"


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = 4000\nmax_workers = 7\n[limits]\nrun_seconds = 60\n")

    settings = load({"MC_HOME": str(tmp_path), "MC_PORT": "5000", "MC_LIMITS_CHECK_SECONDS": "30"})

    assert (settings.port, settings.max_workers, settings.threads) == (5000, 7, 32)
    assert (settings.limits.run_seconds, settings.limits.check_seconds) == (60, 30)


def test_a_person_adds_and_replaces_prices(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[prices]\n"gpt-5" = {input = 2, output = 8, cache_read = 0.5, cache_write = 2}\n'
    )
    loaded = load({}, tmp_path)
    assert loaded.all_prices["gpt-5"].amounts == "2.0 8.0 0.5 2.0"
    assert loaded.all_prices.keys() == DEFAULT_PRICES.keys()
    (tmp_path / "config.toml").write_text('[prices]\n"gpt-5" = {input = -2}\n')
    assert len(problems({}, tmp_path)) == 4


def test_several_addresses_are_given_as_one_comma_separated_variable(tmp_path: Path) -> None:
    settings = load({"MC_HOME": str(tmp_path), "MC_HOST": "127.0.0.1, [::1]", "MC_TRUSTED_HOSTS": "board.lan"})

    assert settings.host == ("127.0.0.1", "::1")
    assert settings.plain_hosts == {"127.0.0.1", "::1", "localhost"}
    assert settings.public_hosts == {"board.lan"}


@pytest.mark.parametrize(
    ("variables", "public", "loopback"),
    [
        ({"MC_HOST": "0.0.0.0", "MC_BEHIND_TLS": "1"}, set(), True),
        ({"MC_HOST": "10.8.0.2", "MC_BEHIND_TLS": "1"}, {"10.8.0.2"}, False),
        ({"MC_PUBLIC_URL": "https://Board.example:8443"}, {"board.example"}, True),
        ({"MC_PUBLIC_URL": "http://localhost:3001"}, {"localhost"}, True),
    ],
)
def test_a_browser_may_log_in_at_names_that_the_operator_has_set(
    tmp_path: Path, variables: dict[str, str], public: set[str], loopback: bool
) -> None:
    settings = load({"MC_HOME": str(tmp_path)} | variables)
    assert settings.public_hosts == frozenset(public)
    assert settings.serves_loopback is loopback


def test_quiet_hours_that_never_end_are_refused(tmp_path: Path) -> None:
    [problem] = problems({"MC_QUIET_HOURS": "22:00-22:00"}, tmp_path)
    assert "begin and end at once" in problem


def test_an_unknown_variable_is_refused_by_name_with_what_was_meant(tmp_path: Path) -> None:
    assert problems({"MC_MAX_WORKER": "2"}, tmp_path) == [
        "MC_MAX_WORKER is not a setting; did you mean MC_MAX_WORKERS or MC_WEB_WORKERS?"
    ]


def test_an_unknown_variable_like_no_other_is_answered_with_all_that_are_allowed(tmp_path: Path) -> None:
    (problem,) = problems({"MC_ZZZ": "2"}, tmp_path)

    assert all(variable in problem for variable in list_keys().values())


def test_the_variables_of_a_run_and_of_the_tests_are_let_pass(tmp_path: Path) -> None:
    settings = load({"MC_HOME": str(tmp_path), "MC_RUN_ID": "7", "MC_API_TOKEN": "t", "MC_TEST_ANYTHING": "1"})

    assert settings.ambient.run_id == "7"


def test_an_unknown_key_in_the_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("prot = 1\n[limits]\nrun_secnds = 60\n[home]\nx = 1\n")

    messages = problems({}, tmp_path)

    assert [problem.split(" ")[0] for problem in messages] == ["prot", "limits.run_secnds", "home"]
    assert "did you mean port" in messages[0]
    assert "limits.run_seconds" in messages[1]


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("port = \n")

    (problem,) = problems({}, tmp_path)

    assert problem.startswith(f"{tmp_path}/config.toml cannot be read:")


def test_all_problems_are_named_together_and_by_where_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("max_workers = -1\n")

    messages = problems({"MC_PORT": "99999", "MC_FOO_BAR": "1", "MC_TIMEZONE": "Mars/Olympus"}, tmp_path)

    assert [problem.split(" ")[0].rstrip(":") for problem in messages] == [
        "MC_FOO_BAR", "MC_PORT", "max_workers", "MC_TIMEZONE",
    ]  # fmt: skip


def test_a_time_zone_is_a_name_of_the_database_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: all names were listed each time, which took most of the time of a health check and of a start."""
    monkeypatch.setattr("os.walk", lambda *_: pytest.fail("a folder was listed"))
    assert load({"MC_TIMEZONE": "America/Argentina/Ushuaia"}, tmp_path).zone.key == "America/Argentina/Ushuaia"
    for name in ("", "Europe", "../UTC", "/etc/localtime", "posix/UTC", "right/UTC", "zone.tab"):
        assert "not a time zone" in problems({"MC_TIMEZONE": name}, tmp_path)[0]


def test_a_refused_store_address_is_not_repeated_with_its_password(tmp_path: Path) -> None:
    (problem,) = problems({"MC_DATABASE_URL": "mysql://u:s3cret@host/db"}, tmp_path)

    assert problem.startswith("MC_DATABASE_URL: ")
    assert "s3cret" not in problem
    assert "s3cret" not in repr(load({"MC_HOME": str(tmp_path), "MC_DATABASE_URL": "postgresql://u:s3cret@h/db"}))


def test_caps_that_would_starve_ordinary_requests_are_refused_naming_the_sum(tmp_path: Path) -> None:
    (problem,) = problems({"SSE_MAX_TOTAL_CLIENTS": "20", "MC_THREADS": "32"}, tmp_path)

    assert "20 + SSE_MAX_TAIL_CLIENTS 4 + WS_MAX_CLIENTS 4 = 28 of 32 threads" in problem
    assert "raise MC_THREADS to 36" in problem
    assert load({"MC_HOME": str(tmp_path), "SSE_MAX_TOTAL_CLIENTS": "20", "MC_THREADS": "36"}).threads == 36


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "127.0.0.1,board.example"])
def test_a_bind_beyond_loopback_is_refused_until_tls_is_acknowledged(host: str, tmp_path: Path) -> None:
    (problem,) = problems({"MC_HOST": host}, tmp_path)

    assert "MC_BEHIND_TLS=true" in problem
    assert load({"MC_HOME": str(tmp_path), "MC_HOST": host, "MC_BEHIND_TLS": "true"}).behind_tls


@pytest.mark.parametrize("host", ["-x", "a b", "http://x", "", "unix:/tmp/s"])
def test_a_host_that_is_no_address_or_name_is_refused(host: str, tmp_path: Path) -> None:
    assert problems({"MC_HOST": host}, tmp_path)[0].startswith("MC_HOST: ")


def test_a_postgresql_address_names_the_driver_that_is_used(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url="postgresql://db.lan/mc")

    assert settings.database_url == "postgresql+psycopg://db.lan/mc"


def test_settings_cannot_be_changed_or_extended(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings.model_validate({"home": tmp_path, "colour": "red"})


def test_an_agent_is_given_no_setting_and_no_variable_that_is_not_allowed(tmp_path: Path) -> None:
    environ = {"MC_HOME": str(tmp_path), "PATH": "/bin", "LANG": "C", "MC_PORT": "4000", "KEY": "k", "OTHER": "o"}
    settings = load(environ | {"SSE_MAX_TAIL_CLIENTS": "2", "MC_API_TOKEN": "t"})

    assert settings.agent_environment("KEY", "MC_PORT", "MC_API_TOKEN") == {"PATH": "/bin", "LANG": "C", "KEY": "k"}
    assert "KEY" not in repr(settings)


def test_two_homes_share_no_name(tmp_path: Path) -> None:
    one, other = Settings(home=tmp_path / "a"), Settings(home=tmp_path / "b")

    assert one.instance != other.instance
    assert one.sockets_dir != other.sockets_dir


def test_a_home_is_made_for_its_owner_only(tmp_path: Path) -> None:
    settings = private(tmp_path / "deep" / "home")
    settings.home.parent.mkdir()
    settings.ensure_home()

    for folder in (settings.home, settings.secrets_dir, settings.runs_dir, settings.sockets_dir):
        assert folder.stat().st_mode & 0o777 == 0o700
    settings.ensure_home()


def test_a_home_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    with pytest.raises(SettingsError, match="cannot be created"):
        Settings(home=tmp_path / "home").ensure_home()


def test_a_folder_that_is_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    settings = private(tmp_path / "home")
    settings.home.mkdir()
    settings.secrets_dir.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SettingsError, match="is not a folder of user"):
        settings.ensure_home()


def test_a_timer_with_another_environment_meets_the_same_sockets(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    session = load({"MC_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")})
    session.ensure_home()
    timer = load({"MC_HOME": str(tmp_path / "home")})

    assert timer.sockets_dir == session.sockets_dir == tmp_path / "runtime" / f"mc-{session.instance}"


def test_sockets_whose_runtime_folder_is_gone_are_put_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    load({"MC_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}).ensure_home()
    (tmp_path / "runtime").rename(tmp_path / "gone")

    later = load({"MC_HOME": str(tmp_path / "home")})
    later.ensure_home()

    assert later.sockets_dir.parent == Path("/var/tmp")
    later.sockets_dir.rmdir()


def test_sockets_below_tmp_stay_only_until_their_folder_is_gone(tmp_path: Path) -> None:
    """A sandbox lets an agent write below /tmp; an older installation's tmux server may be there."""
    settings = load({"MC_HOME": str(tmp_path / "home")})
    settings.run_dir.mkdir(parents=True)
    older = Path("/tmp") / f"mc-test-{settings.instance}"
    (settings.run_dir / "sockets").symlink_to(older)
    older.mkdir()
    assert settings.sockets_dir == older
    older.rmdir()
    assert settings.sockets_dir.parent == Path("/var/tmp")


def test_the_table_of_settings_in_the_docs_is_current() -> None:
    assert (ROOT / "docs/settings.md").read_text() == render_settings(), "run bin/mc settings --markdown"


def test_programs_beside_a_board_find_the_address_that_it_was_started_with(tmp_path: Path) -> None:
    """Regression: a run that a timer started talked to the default port, and handed its token to whoever listens there."""
    board = load({"MC_HOME": str(tmp_path), "MC_PORT": "4000"}, serves=True)
    board.ensure_home()
    board.remember_address()

    assert load({"MC_HOME": str(tmp_path)}).api_url == "http://127.0.0.1:4000"
    assert load({"MC_HOME": str(tmp_path)}).port == 3001
    assert load({"MC_HOME": str(tmp_path), "MC_PORT": "5000"}).api_url == "http://127.0.0.1:5000"
    assert load({"MC_HOME": str(tmp_path), "MC_HOST": "::1"}).api_url == "http://[::1]:4000"
    assert load({"MC_HOME": str(tmp_path)}, serves=True).api_url == "http://127.0.0.1:3001"
    (tmp_path / "config.toml").write_text("port = 6000\n")
    assert load({"MC_HOME": str(tmp_path)}).api_url == "http://127.0.0.1:6000"


def test_a_board_that_ends_is_forgotten_unless_another_has_taken_its_place(tmp_path: Path) -> None:
    first, second = (load({"MC_HOME": str(tmp_path), "MC_PORT": port}, serves=True) for port in ("4000", "5000"))
    first.ensure_home()
    first.remember_address()
    second.remember_address()

    first.forget_address()
    assert load({"MC_HOME": str(tmp_path)}).api_url == "http://127.0.0.1:5000"
    second.forget_address()
    assert load({"MC_HOME": str(tmp_path)}).api_url == "http://127.0.0.1:3001"


@pytest.mark.parametrize("content", ["", "127.0.0.1", "127.0.0.1 0", "127.0.0.1 70000", "a/b 4000", "x y z", "\xff"])
def test_an_address_file_that_was_damaged_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/address").write_bytes(content.encode("latin-1"))

    assert load({"MC_HOME": str(tmp_path)}).api_url == "http://127.0.0.1:3001"


def _reads(file: Path) -> Iterator[tuple[str, str]]:
    """Yield owner and name of each attribute that a file reads; the owner of a key in brackets is unnamed."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield "", str(node.slice.value)
        elif isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            yield "settings" if owner == "self" and file.name == "settings.py" else owner.lstrip("_"), node.attr


def test_every_setting_has_a_reader() -> None:
    packages = ("tickets", "workers", "web", "jobs", "cli", "deploy")
    files = [*ROOT.glob("*.py"), *(file for package in packages for file in (ROOT / package).rglob("*.py"))]
    reads = {read for file in files for read in _reads(file)}
    reads |= {("budget", name) for name in (*BUDGETS, *(f"run_{measure}" for measure in USAGE_MEASURES))}
    reads |= {("settings", f"{name}_binary") for name in AGENT_PROGRAMS}  # `Settings.binary_of`
    unread = {key for key in list_keys() if ("settings", *key)[-2:] not in reads and ("", key[-1]) not in reads}
    assert unread == set(), "without a reader, a setting is accepted in vain"
