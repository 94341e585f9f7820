"""A thread of a wrapper that fails is seen, counted and restarted, and one that goes on failing ends the run."""

from __future__ import annotations

from protocol import StopCode, StopOrder
from workers.host.job_thread import JobThread
from workers.run.supervised_thread import MAX_FAILURES, SupervisedThread


class Log:
    """Keeps what threads record."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, str]] = []
        self.orders: list[StopOrder] = []

    def record_thread_failure(self, thread: str, count: int, text: str) -> None:
        self.records.append((thread, count, text))
        raise OSError("the disk is full")

    def end_run(self, order: StopOrder) -> None:
        self.orders.append(order)


class Failing(SupervisedThread):
    """Fails so many times, and then ends well."""

    def __init__(self, log: Log, failures: int) -> None:
        super().__init__("failing", log, pause=0)
        self.left = failures
        self.is_done = False

    def work(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise ValueError("a wrong turn")
        self.is_done = True


def run_thread(failures: int) -> tuple[Failing, Log]:
    log = Log()
    thread = Failing(log, failures)
    thread.start()
    thread.join()
    return thread, log


def test_a_thread_that_fails_is_recorded_counted_and_restarted() -> None:
    thread, log = run_thread(2)
    text = "The failing thread of the wrapper failed (ValueError: a wrong turn). It is restarted."
    assert log.records == [("failing", 1, text), ("failing", 2, text)]
    assert (thread.is_done, thread.failures, log.orders) == (True, 2, [])


def test_a_thread_that_goes_on_failing_ends_the_run() -> None:
    thread, log = run_thread(100)
    assert (thread.is_done, thread.failures, thread.is_given_up) == (False, MAX_FAILURES, True)
    [order] = log.orders
    assert order.code == StopCode.BROKEN and order.reason == log.records[-1][2] and "given up" in order.reason


def test_the_error_of_a_job_is_logged_without_secrets() -> None:
    lines: list[str] = []
    thread = JobThread("job", "sending", lines.append)

    def fail() -> None:
        raise OSError("https://me:correct-horse@a.test/ answered ghp_" + "a1B2" * 9)

    assert thread.start(fail)
    thread.join(60)
    assert lines == ["sending: OSError: https://me:[redacted]@a.test/ answered [redacted]"]
