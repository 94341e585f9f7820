"""`mc receipt verify`: repeat on this machine what a receipt of another one records."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from pydantic import ValidationError

from settings import Settings, load
from tickets.board.receipt import ReceiptCheck, TicketReceipt
from workers.repository import recheck
from workers.repository.recheck import CheckComparison, RecordedCheck

from .common import escape_controls

MAX_RECEIPT_BYTES = 16 * 1024 * 1024


@click.group()
def receipt() -> None:
    """Repeat what a receipt records."""


@receipt.command(short_help="Run the checks of a receipt again.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--repo", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--timeout", type=click.FloatRange(1), default=900, show_default=True, help="Seconds of one command.")
@click.option("--yes", is_flag=True, help="Run the commands without asking.")
def verify(file: Path, repo: Path, timeout: float, yes: bool) -> None:
    """Run the checks of the receipt FILE (JSON) again on the clone at --repo, and compare trees and exit codes.

    Each is run in a scratch work tree of its recorded commit. Exit code 1 says that something differs or is missing.
    The commands come from FILE: read them before you agree.
    """
    document = _read_receipt(file)
    present = [check for check in document.checks if check.commit and check.argv]
    if not present:
        raise click.ClickException(f"{file} records no check that can be repeated.")
    newest = list({(check.commit, tuple(check.argv)): check for check in reversed(present)}.values())
    _confirm(document, newest, yes)
    settings = load()
    problems = [_repeat(repo, document, check, settings, timeout) for check in newest]
    if any(problems):
        raise SystemExit(1)


def _read_receipt(file: Path) -> TicketReceipt:
    with file.open("rb") as stream:
        content = stream.read(MAX_RECEIPT_BYTES)
    try:
        return TicketReceipt.model_validate_json(content)
    except ValidationError as error:
        raise click.ClickException(
            f"{file} is no receipt of this version ({error.error_count()} problems). Write it with mc ticket receipt --json."
        ) from None


def _confirm(document: TicketReceipt, present: list[ReceiptCheck], yes: bool) -> None:
    argvs = [document.setup_command] if document.setup_command else []
    for argv in dict.fromkeys(shlex.join(argv) for argv in (*argvs, *(check.argv for check in present))):
        click.echo(f"$ {escape_controls(argv)}", err=True)
    if not yes:
        click.confirm("Run these commands on this machine?", abort=True, err=True)


def _repeat(repo: Path, document: TicketReceipt, check: ReceiptCheck, settings: Settings, timeout: float) -> str:
    """Repeat one check, print the result and return the problem, empty when it is as recorded."""
    record = RecordedCheck(check.argv, check.exit_code, check.commit or "", check.tree)
    environment = settings.agent_environment()
    comparison = recheck.repeat_check(
        repo.resolve(), record, env=environment, timeout=timeout, setup=document.setup_command
    )
    click.echo(_format_comparison(check, comparison))
    return comparison.problem


def _format_comparison(check: ReceiptCheck, comparison: CheckComparison) -> str:
    place = f"{shlex.join(check.argv)} at commit {(check.commit or '')[:12]}"
    if not comparison.problem:
        return escape_controls(f"same: {place}, exit {comparison.exit_code}")
    tail = f"\n{comparison.tail}" if comparison.tail else ""
    return escape_controls(f"differs: {place}: {comparison.problem}{tail}")


COMMANDS: tuple[click.Command, ...] = (receipt,)
