"""Refused enrolments are bounded for each address, and so is what is remembered about addresses."""

from __future__ import annotations

from broker_mesos.enroll.attempts import MAX_ADDRESSES, MAX_REFUSED, WINDOW_SECONDS, Attempts


def test_an_address_waits_after_too_many_attempts_and_no_other_one_does() -> None:
    attempts = Attempts()
    assert [attempts.begin("10.0.0.1", 5.0) for _ in range(MAX_REFUSED)] == [0.0] * MAX_REFUSED
    assert attempts.begin("10.0.0.1", 15.0) == WINDOW_SECONDS - 10.0
    assert attempts.begin("10.0.0.2", 15.0) == 0.0
    assert attempts.begin("10.0.0.1", 5.0 + WINDOW_SECONDS) == 0.0


def test_an_attempt_that_succeeds_is_not_counted() -> None:
    attempts = Attempts()
    for _ in range(3 * MAX_REFUSED):
        assert attempts.begin("10.0.0.1", 5.0) == 0.0
        attempts.succeeded("10.0.0.1")


def test_a_network_of_ipv6_is_one_address() -> None:
    attempts = Attempts()
    for number in range(MAX_REFUSED):
        assert attempts.begin(f"2001:db8::{number:x}", 5.0) == 0.0
    assert attempts.begin("2001:db8::ffff", 5.0) > 0.0
    assert attempts.begin("2001:db8:0:1::1", 5.0) == 0.0


def test_only_so_many_addresses_are_remembered() -> None:
    attempts = Attempts()
    for number in range(MAX_ADDRESSES + 100):
        attempts.begin(f"host-{number}", 5.0)
    assert len(attempts._windows) == MAX_ADDRESSES
