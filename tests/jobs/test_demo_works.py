"""The sample tickets show the whole loop: work, a failing check, a question, a dependency, and a parked ticket."""

from __future__ import annotations

import pytest

from cli.demo import add_demo
from models import EvidenceStatus, TicketStatus
from tests.waiting import wait_until

from .installation import Installation


@pytest.mark.slow
def test_the_demo_is_worked_to_its_end(served_installation: Installation) -> None:
    assert add_demo(served_installation.settings, served_installation.engine)
    reviewed, asking, waiting = TicketStatus.IN_REVIEW, TicketStatus.NEEDS_INPUT, TicketStatus.WAITING
    evening, slow, failing, untriaged, question, dependent, new_year = range(1, 8)
    expected = {evening: reviewed, slow: reviewed, question: asking, new_year: waiting, untriaged: TicketStatus.INBOX}

    def arrived() -> bool:
        served_installation.make_pass()
        return all(served_installation.get(number).status is status for number, status in expected.items())

    wait_until(arrived, timeout=120, description="the demo's tickets")
    assert served_installation.runs(dependent) == [], "it waits for the first one"
    served_installation.move(evening, "approve", waive="Looks good.")

    served_installation.until(dependent, reviewed, passing=True, timeout=60)
    checks = {fact.status for fact in served_installation.evidence(failing) if fact.kind == "check"}
    assert EvidenceStatus.FAILED in checks
