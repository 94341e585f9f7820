"""API of projects, members of the team and profiles."""

from __future__ import annotations

from tickets.lifecycle.schemas import AgentJson, ProfileJson, ProjectJson, read_tickets
from tickets.planning import folder_reviews
from tickets.planning.folder_reviews import NewFolderReview
from tickets.shared.ticket_fields import TicketJson
from tickets.team import agents, profiles, projects
from tickets.team.agents import EditAgent, NewAgent
from tickets.team.profiles import EditProfile, NewProfile
from tickets.team.projects import EditProject, NewProject
from web.api.page import Page
from web.api.resource import OPERATORS, Call, Resource

from .project_branches import find_reviewed_commit, read_branches_for_edit, read_branches_for_new_project

blueprint = Resource("team", __name__)


@blueprint.reads("/projects")
def list_projects(call: Call) -> Page[ProjectJson]:
    """List the projects."""
    return {"items": [ProjectJson.read(row) for row in projects.list_projects(call.session)], "next": None}


@blueprint.writes("POST", "/projects", rights=OPERATORS, status=201, examine=read_branches_for_new_project)
def add_project(call: Call, body: NewProject) -> ProjectJson:
    """Add a project: a repository that tickets are worked in, with a base branch that it has."""
    return ProjectJson.read(projects.add_project(call.session, body, call.actor, call.examination))


@blueprint.writes("PATCH", "/projects/<slug>", rights=OPERATORS, examine=read_branches_for_edit)
def edit_project(call: Call, slug: str, body: EditProject) -> ProjectJson:
    """Change a project, refused if its `version` has changed since it was read."""
    return ProjectJson.read(projects.edit_project(call.session, slug, body, call.actor, call.examination))


@blueprint.writes("POST", "/projects/<slug>/reviews", status=201, examine=find_reviewed_commit)
def review_folder(call: Call, slug: str, body: NewFolderReview) -> TicketJson:
    """Review a folder of a project, as it is on the base branch. The findings are on the ticket of the response."""
    ticket = folder_reviews.request_review(call.session, slug, body, call.examination, call.actor)
    return read_tickets(call.session, [ticket])[0]


@blueprint.reads("/agents")
def list_agents(call: Call) -> Page[AgentJson]:
    """List the members of the team with their live runs."""
    busy = agents.count_live_runs(call.session)
    return {
        "items": [AgentJson.read(row, live_runs=busy.get(row.name, 0)) for row in agents.list_members(call.session)],
        "next": None,
    }


@blueprint.writes("POST", "/agents", rights=OPERATORS, status=201)
def add_agent(call: Call, body: NewAgent) -> AgentJson:
    """Add a member to the team."""
    return AgentJson.read(agents.add_agent(call.session, body, call.actor), live_runs=0)


@blueprint.writes("PATCH", "/agents/<name>", rights=OPERATORS)
def edit_agent(call: Call, name: str, body: EditAgent) -> AgentJson:
    """Change a member of the team. `cooldown_until: null` ends a cooldown."""
    row = agents.edit_agent(call.session, name, body, call.actor)
    return AgentJson.read(row, live_runs=agents.count_live_runs(call.session).get(name, 0))


@blueprint.reads("/profiles")
def list_profiles(call: Call) -> Page[ProfileJson]:
    """List the profiles, which configure how the agent programs are run."""
    return {"items": [ProfileJson.read(row) for row in profiles.list_profiles(call.session)], "next": None}


@blueprint.writes("POST", "/profiles", rights=OPERATORS, status=201)
def add_profile(call: Call, body: NewProfile) -> ProfileJson:
    """Add a profile."""
    return ProfileJson.read(profiles.add_profile(call.session, body, call.actor))


@blueprint.writes("PATCH", "/profiles/<name>", rights=OPERATORS)
def edit_profile(call: Call, name: str, body: EditProfile) -> ProfileJson:
    """Change a profile, with effect on new runs."""
    return ProfileJson.read(profiles.edit_profile(call.session, name, body, call.actor))
