"""The sample tickets show the whole loop: work, a failing check, a question, a dependency, and a parked ticket."""

from __future__ import annotations

import pytest

from cli.demo import add_demo
from models import EvidenceStatus, TicketStatus
from tests.waiting import wait_until

from .house import House


@pytest.mark.slow
def test_the_demo_is_worked_to_its_end(open_house: House) -> None:
    assert add_demo(open_house.settings, open_house.engine)
    reviewed, asking, parked = TicketStatus.IN_REVIEW, TicketStatus.NEEDS_INPUT, TicketStatus.WAITING
    evening, slow, broken, untriaged, question, dependent, new_year = range(1, 8)
    settled = {evening: reviewed, slow: reviewed, question: asking, new_year: parked, untriaged: TicketStatus.INBOX}

    def arrived() -> bool:
        open_house.make_pass()
        return all(open_house.get(number).status is status for number, status in settled.items())

    wait_until(arrived, timeout=120, what="the demo's tickets")
    assert open_house.runs(dependent) == [], "it waits for the first one"
    open_house.move(evening, "approve", waive="Looks good.")

    open_house.until(dependent, reviewed, passing=True, timeout=60)
    checks = {fact.status for fact in open_house.evidence(broken) if fact.kind == "check"}
    assert EvidenceStatus.FAILED in checks
