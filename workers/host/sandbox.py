"""The sandbox for agents' commands: bubblewrap in a user namespace, which some machines and containers forbid.

Claude Code needs bubblewrap and socat. Codex brings its own bubblewrap, but needs user namespaces too.
"""

from __future__ import annotations

from . import commands

PROBE_SECONDS = 5.0
_PROBE = "bwrap --ro-bind / / --dev /dev --proc /proc --unshare-user --unshare-pid --unshare-net true"


def explain_absence() -> str:
    """Explain why commands cannot be confined on this machine, or return an empty text."""
    try:
        result = commands.run(_PROBE.split(), timeout=PROBE_SECONDS)
        commands.run(["socat", "-V"], timeout=PROBE_SECONDS)
    except OSError as error:
        return f"{error.filename or 'bubblewrap'} is not installed"
    return "" if result.code == 0 else f"user namespaces are not available: {result.error_text}"


def is_available() -> bool:
    """Return whether the commands of agents can be confined to their workspace on this machine."""
    return not explain_absence()
