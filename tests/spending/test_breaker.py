"""A server that fails again and again is left alone, tried by one call, and asked again once that goes well."""

from askless.spending.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(**options):
    clock = Clock()
    breaker = Breaker(after=3, pause=10, longest=35, clock=clock, **options)
    for n in range(3):
        assert breaker.wait() == 0
        breaker.fault(f"HTTP 50{n}")
    return breaker, clock


def test_it_opens_after_faults_in_a_row_and_says_the_last():
    breaker, _ = opened()
    assert breaker.open and breaker.wait() == 10
    assert breaker.last == "HTTP 502"


def test_a_call_that_goes_well_starts_the_count_anew():
    breaker = Breaker(after=2)
    for _ in range(5):
        breaker.fault("HTTP 500")
        breaker.well()
    assert not breaker.open and breaker.wait() == 0


def test_one_call_is_on_trial_while_others_wait():
    breaker, clock = opened()
    clock.now = 10
    assert breaker.wait() == 0
    assert breaker.wait() > 0
    clock.now = 12
    assert breaker.outage == 12
    breaker.well()
    assert breaker.wait() == 0 and not breaker.open and breaker.outage == 0


def test_a_failed_trial_waits_twice_as_long_up_to_the_longest():
    breaker, clock = opened()
    for pause in (20, 35, 35):
        clock.now += 100
        assert breaker.wait() == 0
        breaker.fault("timed out")
        assert breaker.wait() == pause


def test_faults_of_calls_under_way_do_not_open_it_further():
    breaker, _ = opened()
    for _ in range(8):
        breaker.fault("HTTP 500")
    assert breaker.wait() == 10


def test_a_trial_that_was_not_made_leaves_its_place_to_another():
    breaker, clock = opened()
    clock.now = 10
    assert breaker.wait() == 0
    breaker.unused()
    assert breaker.wait() == 0


def test_a_final_fault_opens_at_once():
    breaker = Breaker(after=5)
    breaker.fault("HTTP 401: the key was refused", final=True)
    assert breaker.open and breaker.wait() > 0
