"""The start of a claimed ticket's run: its folder, its workspace and its wrapper in tmux.

Every failure before the wrapper is started releases the ticket with the reason. The next pass settles an ambiguous
start by observation: never a ticket in progress with nothing running, never one in todo whose agent
runs.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

import failpoints
from database import reading, writing
from failpoints import Failpoint
from models import Failure, Project, Run
from redaction import Redaction
from tickets.runs import claims, forks, prompt, reports
from tickets.runs.claims import RunClaim
from tickets.shared import lookup
from tickets.team import repositories as observations
from tickets.workflow import code_reviews
from workers.agents.tui.screen import format_prompt_argument
from workers.contract.spec import RunSpec
from workers.host import files, memory_limit
from workers.host.private_dirs import UnsafeFolder, make_private_dir, move_away
from workers.repository.workspace import PoolFull, Workspace
from workers.run import launch, lock

from . import repositories, run_configuration, run_files, spec_builder, workspaces
from .job_context import JobContext
from .run_configuration import ConfigurationChoice

MAX_REASON_BYTES = 2000


class FolderOccupied(Exception):
    """The folder of a new run is in use."""


def start_claimed_run(context: JobContext, claim: RunClaim) -> bool:
    """Start the run of a claim. False when it is proven that it did not start, and the ticket was released."""
    failpoints.kill_at(Failpoint.CLAIMED)
    run_dir = context.run_dir(claim.run.id)
    try:
        _prepare_folder(run_dir)
    except (FolderOccupied, UnsafeFolder, OSError) as error:
        _release_claim(context, claim, error)
        return False
    try:
        spec = _prepare_run(context, claim)
        pane = launch.start_wrapper(
            context.tmux,
            run_dir,
            spec,
            memory_limit.build_prefix(spec.run_id, spec_builder.format_memory_limit(claim.profile)),
        )
    except Exception as error:
        if launch.revoke_run(run_dir) and not lock.was_started(run_dir):
            _release_claim(context, claim, error)
            return False
        return True
    failpoints.kill_at(Failpoint.STARTED)
    with writing(context.engine) as session:
        claims.record_workspace(session, claim.run.id, tmux_target=pane or f"mc-{spec.identifier}")
    return True


def _prepare_folder(run_dir: Path) -> None:
    """Make an empty folder for a new run. An existing one with its number is from before the store was restored."""
    if run_dir.is_dir() and lock.is_held(run_dir):
        raise FolderOccupied(
            f"{run_dir} belongs to a run that this store does not know, and that still works: stop it."
        )
    move_away(run_dir)
    make_private_dir(run_dir)


def _prepare_run(context: JobContext, claim: RunClaim) -> RunSpec:
    """Prepare workspace, spec and prompt: everything but the start."""
    with reading(context.engine) as session:
        project = session.get(Project, claim.ticket.project_id) if claim.ticket.project_id else None
        previous_run = claims.find_last_in_repository(session, claim.ticket.id)
        review = code_reviews.find_subject(session, claim.ticket.id)
        attachments, earlier_start = run_files.load_files(session, claim.run)
    commit = review.commit_sha if review else None
    workspace = _prepare_workspace(context, claim, project, previous_run, commit)
    variables = workspaces.reserve_variables(context, workspaces.format_holder(claim.run.id), project)
    configuration = run_configuration.choose_configuration(context.settings, claim.profile, project, workspace)
    spec = spec_builder.build_spec(context.settings, claim, project, workspace, variables, configuration)
    spec = spec_builder.restrict_to_reading(spec) if review else spec
    run_dir, since = context.run_dir(claim.run.id), run_files.choose_first_moment(spec, earlier_start)
    copies = run_files.copy_files(context.settings.attachments_dir, run_dir, attachments, since)
    slots = repositories.describe_slots(context.settings, project) if project else []
    with writing(context.engine) as session:
        _record_preparation(session, spec, configuration)
        if project:
            notes = (
                {} if workspace.notes is None else {"notes": Redaction(spec.all_secrets).clean_value(workspace.notes)}
            )
            observations.record_state(session, project.id, context.host, slots=slots, **notes)
        run = lookup.get_run(session, spec.run_id)
        forks.report_missing_source(session, run)
        prompt_text = prompt.compose_prompt(session, claim.ticket, run, copies)
        claims.record_workspace(session, run.id, prompt=format_sent_prompt(context, spec, prompt_text))
    _write_board_token(context, claim)
    launch.write_run_dir(run_dir, spec, prompt_text)
    return spec


def _write_board_token(context: JobContext, claim: RunClaim) -> None:
    """Write the token of the board for the coordination server of an orchestrator's run."""
    if claim.board_token:
        make_private_dir(context.settings.board_tokens_dir)
        files.replace(context.settings.board_token_file(claim.run.id), claim.board_token.encode())


def _record_preparation(session: Session, spec: RunSpec, configuration: ConfigurationChoice) -> None:
    """Record where the run works, which conversation it continues, and which configuration it takes."""
    claims.record_workspace(
        session,
        spec.run_id,
        workspace=spec.workspace,
        repository=spec.repository,
        branch=spec.branch,
        base_sha=spec.base_sha,
        resumes=spec.resume,
        conversation_id=spec.conversation_id,
        config_dir=spec.config_dir,
        forks=spec.forks,
        configuration=configuration.record and configuration.record.to_json(),
    )


def format_sent_prompt(context: JobContext, spec: RunSpec, prompt_text: str) -> str | None:
    """Return the prompt as the program gets it, without secrets. None when a person begins at the screen."""
    run_dir = context.run_dir(spec.run_id)
    sent_text = prompt_text if spec.mode == "headless" else format_prompt_argument(spec, run_dir, prompt_text)
    return Redaction(spec.all_secrets).clean_text(sent_text) if sent_text else None


def _prepare_workspace(
    context: JobContext, claim: RunClaim, project: Project | None, previous_run: Run | None, commit: str | None
) -> Workspace:
    """Prepare a workspace. If the pool is full, first free the slots of runs that ended during this pass."""
    try:
        return workspaces.prepare_workspace(context.settings, claim, project, previous_run, commit)
    except PoolFull:
        workspaces.release_ended_slots(context)
        return workspaces.prepare_workspace(context.settings, claim, project, previous_run, commit)


def _release_claim(context: JobContext, claim: RunClaim, error: Exception) -> None:
    redaction = spec_builder.build_redaction(context.settings, claim.profile)
    reason = redaction.clean_text(
        f"The run could not be started: {str(error) or type(error).__name__}", MAX_REASON_BYTES
    )
    with writing(context.engine) as session:
        reports.record_start_failure(session, claim.run.id, Failure.ENVIRONMENT, reason, context.retry)
