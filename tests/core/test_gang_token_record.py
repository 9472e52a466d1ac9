"""The record of the gang token: which gang has it next."""

from __future__ import annotations

from broker_mesos.core.quota.gang_token import TokenRecord, TokenRequest, WaitingGang, read, turn

A, B, C = (WaitingGang((f"f{n}", "g"), 1) for n in range(3))


def request(*waiting: WaitingGang, done=None) -> TokenRequest:
    return TokenRequest(waiting, done)


def test_the_gang_that_waited_longest_gets_a_free_token():
    assert turn(TokenRecord(), request(B, A)).holder.key == B.key


def test_a_token_stays_until_it_is_given_back():
    held = turn(TokenRecord(), request(A, B))
    assert turn(held, request(B)) == held
    assert turn(held, request(B, done=held.holder)).holder.key == B.key
    assert turn(held, request(done=held.holder)).holder is None


def test_what_is_given_back_late_does_not_end_a_later_turn():
    first = turn(TokenRecord(), request(A))
    second = turn(first, request(A, done=first.holder))
    assert second.holder != first.holder
    assert turn(second, request(B, done=first.holder)) == second


def test_a_turn_of_a_gang_differs_from_its_turn_before_a_pause():
    first = turn(TokenRecord(), request(A))
    free = turn(first, request(done=first.holder))
    assert turn(free, request(A)).holder != first.holder


def test_a_gang_does_not_get_the_token_twice_in_a_row_while_another_waits():
    record, order = TokenRecord(), []
    for _ in range(9):
        record = turn(record, request(A, B, C, done=record.holder))
        order.append(record.holder.key)
    assert order == [A.key, B.key, C.key] * 3


def test_a_record_that_cannot_be_read_is_a_free_token():
    assert read("{") == read(None) == TokenRecord()
    record = turn(TokenRecord(), request(A))
    assert read(record.encode().decode()) == record
