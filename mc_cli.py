"""mc: the operator's command line, combined from the groups of commands in `cli/`."""

from __future__ import annotations

from typing import Any

import bootstrap

with bootstrap.quick_imports():
    import click
    from sqlalchemy.exc import DatabaseError

    from cli import (
        admin,
        attach,
        export,
        hooks,
        jobs,
        mcp,
        plans,
        projects,
        receipts,
        reviews,
        schedule,
        serve,
        takeover,
        telegram,
        tickets,
        tokens,
    )
    from database import UnsafeSQLite
    from migrations import ForeignKeyViolation, StoreEmpty, StoreTooNew
    from settings import SettingsError
    from store_files import BackupFailed
    from tickets.shared.errors import DomainError
    from workers.repository.git import GitError

COMMANDS = (
    serve.serve,
    *tokens.COMMANDS,
    *telegram.COMMANDS,
    *tickets.COMMANDS,
    *projects.COMMANDS,
    *receipts.COMMANDS,
    *plans.COMMANDS,
    *reviews.COMMANDS,
    *takeover.COMMANDS,
    *attach.COMMANDS,
    *jobs.COMMANDS,
    *schedule.COMMANDS,
    *hooks.COMMANDS,
    *admin.COMMANDS,
    *export.COMMANDS,
    *mcp.COMMANDS,
)


class ErrorReportingGroup(click.Group):
    """Prints a refusal as one sentence and exits with 1. Tracebacks are for bugs."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (
            SettingsError,
            UnsafeSQLite,
            StoreTooNew,
            StoreEmpty,
            ForeignKeyViolation,
            BackupFailed,
            GitError,
        ) as error:
            raise click.ClickException(str(error)) from error
        except DatabaseError as error:
            raise click.ClickException(f"the store cannot be used: {error.orig} (see bin/mc doctor)") from error
        except DomainError as error:
            detail = "".join(
                f"\n  {name}: {value}" for name, value in error.detail.items() if not _is_named(error, name)
            )
            raise click.ClickException(error.message + detail) from error


def _is_named(error: DomainError, name: str) -> bool:
    """Return True when the message itself names each wrong field."""
    return name == "fields" and all(field in error.message for field in error.detail["fields"])


@click.group(
    cls=ErrorReportingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
def main() -> None:
    """Mission Control: the board for delegated work."""


for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="mc")
