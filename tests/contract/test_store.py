"""What every Store does, in memory, in a file and on Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_mesos.core.protocol.records import Lease, RecordKind, Snapshot, Write
from broker_mesos.errors import Conflict, Fenced, InvalidInput, StoreLostData, StoreUnavailable
from broker_mesos.ports.store import Commit, FloorRefused, MasterInfo, Store
from broker_mesos.store import keys
from tests.contract.stores import (
    KINDS,
    StoreKind,
    entry,
    make_kind,
    step,
    take,
    task,
)
from tests.examples import examples


@pytest.fixture(params=KINDS)
async def kind(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[StoreKind]:
    async with make_kind(request, cluster_name) as made:
        yield made


@pytest.fixture
async def store(kind: StoreKind) -> AsyncIterator[Store]:
    made = kind.store()
    await made.open(10)
    yield made
    await made.close()


@pytest.fixture
async def other(kind: StoreKind) -> AsyncIterator[Store]:
    """Another client of the same server, as another master has."""
    made = kind.store()
    await made.open(10)
    yield made
    await made.close()


# -- claims ---------------------------------------------------------------------------------------------


async def test_first_claim_of_a_cell_is_a_recovery_and_later_ones_are_not(store: Store) -> None:
    first = await take(store, "n1")
    assert first.recovering
    assert first.lease.owner == "owner-n1"
    assert first.lease.commit == 0
    assert not first.recovered
    assert first.recovery_term == first.lease.term
    second = await take(store, "n2", first.lease)
    assert not second.recovering
    assert not second.recovered
    assert second.recovery_term == first.lease.term


async def test_recovery_is_over_for_later_owners_once_one_has_reported_it_and_until_the_next(store: Store) -> None:
    first = await take(store, "n1")
    await store.renew(0, term=first.lease.term, nonce="n1", recovered=True)
    await store.renew(0, term=first.lease.term, nonce="n1")
    second = await take(store, "n2", first.lease)
    assert second.recovered and not second.recovering


async def test_terms_rise_with_every_claim_and_start_at_the_time_in_milliseconds(store: Store) -> None:
    before = int(time.time() * 1000)
    lease = (await take(store, "n0")).lease
    assert lease.term >= before - 1000
    for number in range(1, 20):
        later = (await take(store, f"n{number}", lease)).lease
        assert later.term > lease.term
        lease = later


async def test_claim_starts_at_the_floor_that_an_agent_reported(store: Store) -> None:
    floor = int(time.time() * 1000) + 3_600_000
    lease = (await take(store, "n1", floor=floor)).lease
    assert lease.term == floor
    assert (await take(store, "n2", lease)).lease.term == floor + 1


async def test_claim_refuses_a_floor_that_no_owner_can_have_given_out(store: Store) -> None:
    with pytest.raises(FloorRefused, match="more than a day above"):
        await take(store, "n1", floor=int(time.time() * 1000) + 2 * 86_400_000)
    assert (await take(store, "n2")).lease.term <= int(time.time() * 1000) + 1_000


@pytest.mark.parametrize("floor", [-1, 2**52])
async def test_claim_refuses_an_impossible_floor(store: Store, floor: int) -> None:
    with pytest.raises(InvalidInput, match="floor"):
        await take(store, "n1", floor=floor)


async def test_claim_refuses_an_empty_nonce(store: Store) -> None:
    with pytest.raises(InvalidInput, match="nonce"):
        await take(store, "")


async def test_of_two_claims_on_one_seen_lease_one_is_fenced(store: Store, other: Store) -> None:
    outcomes = await asyncio.gather(take(store, "n1"), take(other, "n2"), return_exceptions=True)
    assert sorted(type(outcome) for outcome in outcomes if isinstance(outcome, Fenced)) == [Fenced]
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Snapshot)]
    await store.cell_count(1)
    assert (await store.leases())[0].nonce == winner.lease.nonce


async def test_claim_whose_reply_was_lost_can_be_repeated_with_its_nonce(store: Store, other: Store) -> None:
    first = await take(store, "n1")
    again = await take(other, "n1")
    assert (again.lease.term, again.lease.nonce, again.recovering) == (first.lease.term, "n1", True)


async def test_claim_keeps_commit_number_records_and_outbox(store: Store, other: Store) -> None:
    lease = (await take(store, "n1")).lease
    writes = [
        Write(RecordKind.AGENTS, "a1", b'{"a":1}'),
        Write(RecordKind.FRAMEWORKS, "f1", '{"f":"π"}'.encode()),
        task("t1", b'{"t":1}'),
    ]
    await store.commit(step(lease, 1, writes, outbox=[entry(1, b'{"x":"\\n"}\n\x00')]))
    snapshot = await take(other, "n2", lease)
    assert snapshot.lease.commit == 1
    assert snapshot.agents == {"a1": b'{"a":1}'}
    assert snapshot.frameworks == {"f1": '{"f":"π"}'.encode()}
    assert snapshot.tasks == {"t1": b'{"t":1}'}
    assert snapshot.outbox == [entry(1, b'{"x":"\\n"}\n\x00')]
    await other.commit(step(snapshot.lease, 2, [task("t1", None)]))
    assert (await take(store, "n3", snapshot.lease)).tasks == {}


async def test_cells_are_apart(store: Store) -> None:
    one, two = (await take(store, "n1", cell=1)).lease, (await take(store, "n2", cell=2)).lease
    await store.commit(step(one, 1, [task("t1")]))
    await store.commit(step(two, 1, [task("t2")]))
    assert list((await take(store, "n3", one, cell=1)).tasks) == ["t1"]


# -- commits --------------------------------------------------------------------------------------------


async def test_repeat_of_the_last_commit_changes_nothing(store: Store, other: Store) -> None:
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, [task("t1", b"1")], outbox=[entry(1)]))
    await store.commit(step(lease, 1, [task("t1", b"2")], commit_id="c1", outbox=[entry(9)]))
    snapshot = await take(other, "n2", lease)
    assert (snapshot.tasks, snapshot.outbox, snapshot.lease.commit) == ({"t1": b"1"}, [entry(1)], 1)


@pytest.mark.parametrize("number", [1, 2, 4, 40])
async def test_commit_that_does_not_follow_means_lost_data_and_writes_nothing(store: Store, number: int) -> None:
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1))
    await store.commit(step(lease, 2, [task("t1", b"1")]))
    with pytest.raises(StoreLostData):
        await store.commit(step(lease, number, [task("t1", b"2")], commit_id="another", outbox=[entry(1)]))
    snapshot = await take(store, "n2", lease)
    assert (snapshot.tasks, snapshot.outbox, snapshot.lease.commit) == ({"t1": b"1"}, [], 2)


async def test_commit_under_another_nonce_or_a_lower_term_is_fenced_and_writes_nothing(
    store: Store, other: Store
) -> None:
    old = (await take(store, "n1")).lease
    new = (await take(other, "n2", old)).lease
    for lease in (old, old._replace(term=new.term), new._replace(nonce="n1"), new._replace(term=old.term)):
        with pytest.raises(Fenced) as raised:
            await store.commit(step(lease, 1, [task("t1")], outbox=[entry(1)]))
        assert not isinstance(raised.value, StoreLostData)
        assert "\n" not in str(raised.value)
    assert (await take(other, "n3", new)).tasks == {}


async def test_commit_under_a_term_that_the_store_never_knew_means_lost_data(store: Store) -> None:
    with pytest.raises(StoreLostData):
        await store.commit(step(Lease(0, 7, "n1", "me", 0, 0.0), 1, [task("t1")]))
    lease = (await take(store, "n1")).lease
    with pytest.raises(StoreLostData):
        await store.renew(0, term=lease.term + 1, nonce="n1")


async def test_last_write_of_a_record_wins_within_a_commit(store: Store) -> None:
    lease = (await take(store, "n1")).lease
    writes = [
        task("a", b"1"),
        task("a", None),
        task("b", None),
        task("b", b"2"),
        task("c", b"1"),
        task("c", b"3"),
    ]
    await store.commit(step(lease, 1, writes))
    assert (await take(store, "n2", lease)).tasks == {"b": b"2", "c": b"3"}


async def test_commit_of_many_thousand_records_applies_whole(store: Store) -> None:
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, [task(f"t{i}", b"%d" % i) for i in range(9_001)]))
    outbox = [entry(i) for i in range(4_500)]
    await store.commit(step(lease, 2, [task(f"t{i}", None) for i in range(9_000)], outbox=outbox))
    await store.commit(step(lease, 3, trim=range(4_499)))
    snapshot = await take(store, "n2", lease)
    assert (snapshot.tasks, snapshot.outbox) == ({"t9000": b"9000"}, [entry(4_499)])


async def test_outbox_comes_back_in_order_of_numbers_and_without_what_was_trimmed(store: Store) -> None:
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, outbox=[entry(number) for number in (100, 9, 10, 11, 2)]))
    await store.commit(step(lease, 2, outbox=[entry(101)], trim=[2, 10, 77]))
    assert [found.number for found in (await take(store, "n2", lease)).outbox] == [9, 11, 100, 101]


# -- leases ---------------------------------------------------------------------------------------------


async def test_leases_lists_every_cell_in_order_with_term_0_where_never_claimed(store: Store) -> None:
    assert await store.leases() == []
    await store.cell_count(3)
    await take(store, "n1", cell=1)
    leases = await store.leases()
    assert [lease.cell for lease in leases] == [0, 1, 2]
    assert [lease.owner for lease in leases] == ["", "owner-n1", ""]
    assert (leases[0].term, leases[0].nonce) == (0, "")
    assert leases[0].age > 1_000 > 10 > leases[1].age >= 0


async def test_renewals_and_commits_make_a_lease_young_again(store: Store) -> None:
    await store.cell_count(1)
    lease = (await take(store, "n1")).lease

    async def until_older(than: float) -> float:
        async with asyncio.timeout(90):
            while (age := (await store.leases())[0].age) <= than:
                await asyncio.sleep(0.01)
        return age

    old = await until_older(0.3)
    await store.renew(0, term=lease.term, nonce="n1")
    assert (await store.leases())[0].age < old
    old = await until_older(0.3)
    await store.commit(step(lease, 1))
    assert (await store.leases())[0].age < old


async def test_renewal_notices_that_a_commit_is_missing(store: Store) -> None:
    await store.cell_count(1)
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, [task("t1")]))
    await store.renew(0, term=lease.term, nonce="n1", commit=lease.commit)
    await store.renew(0, term=lease.term, nonce="n1", commit=lease.commit + 1)
    with pytest.raises(StoreLostData):
        await store.renew(0, term=lease.term, nonce="n1", commit=lease.commit + 2)


async def test_renewal_by_a_former_owner_is_fenced(store: Store, other: Store) -> None:
    old = (await take(store, "n1")).lease
    new = (await take(other, "n2", old)).lease
    for term, nonce in ((old.term, "n1"), (new.term, "n1"), (old.term, "n2")):
        with pytest.raises(Fenced, match="owner-n2"):
            await store.renew(0, term=term, nonce=nonce)


async def test_released_lease_has_no_owner_keeps_its_term_and_can_be_claimed(store: Store, other: Store) -> None:
    await store.cell_count(1)
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, [task("t1")]))
    await store.release(0, term=lease.term, nonce="n1")
    (released,) = await store.leases()
    assert (released.term, released.nonce, released.owner, released.commit) == (lease.term, "", "", 1)
    with pytest.raises(Fenced, match="without an owner"):
        await store.commit(step(lease, 2))
    with pytest.raises(Fenced):
        await take(other, "n2", lease)
    claimed = await take(other, "n2", released)
    assert claimed.lease.term > lease.term
    assert list(claimed.tasks) == ["t1"]
    await store.release(0, term=lease.term, nonce="n1")
    assert (await store.leases())[0].owner == "owner-n2"


# -- what is global -------------------------------------------------------------------------------------


async def test_cell_count_is_set_once(store: Store, other: Store) -> None:
    assert await store.cell_count(None) == 0
    assert await store.cell_count(4) == 4
    assert await other.cell_count(None) == 4
    assert await other.cell_count(4) == 4
    with pytest.raises(Conflict, match="4 cells, not 8"):
        await other.cell_count(8)
    for impossible in (0, -1, 100_000):
        with pytest.raises(InvalidInput):
            await other.cell_count(impossible)


async def test_masters_live_for_their_time_and_retire(store: Store, other: Store) -> None:
    await store.beat(MasterInfo("m2", "host two", 2, "0.1.0", 0.0), 60)
    await other.beat(MasterInfo("m1", "höst", 1, "0.1.0", 0.0, "3f9a00aa11bb"), 60)
    await store.beat(MasterInfo("m3", "h", 3, "0.1.0", 0.0), 0.01)
    async with asyncio.timeout(90):
        while len(await other.masters()) > 2:
            await asyncio.sleep(0.01)
    one, two = await other.masters()
    assert one._replace(age=0.0) == MasterInfo("m1", "höst", 1, "0.1.0", 0.0, "3f9a00aa11bb")
    assert (two.master_id, two.policy) == ("m2", "")
    assert 0 <= one.age < 30
    await store.retire("m1")
    await store.retire("m1")
    assert [master.master_id for master in await store.masters()] == ["m2"]


async def test_usage_of_every_cell_is_seen_by_all(store: Store, other: Store) -> None:
    assert await store.usage() == {}
    await store.publish_usage(0, b"old")
    await store.publish_usage(0, b'{"*":1}')
    await other.publish_usage(11, b"{}")
    assert await other.usage() == {0: b'{"*":1}', 11: b"{}"}


async def test_a_beat_tells_who_lives_and_what_the_cells_use(store: Store, other: Store) -> None:
    first = await store.beat(MasterInfo("m2", "h", 2, "0.1.0", 0.0), 60)
    assert ([each.master_id for each in first.masters], first.usage) == (["m2"], {})
    await other.publish_usage(3, b"{}")
    pulse = await other.beat(MasterInfo("m1", "h", 1, "0.1.0", 0.0), 60)
    assert [each.master_id for each in pulse.masters] == ["m1", "m2"]
    assert all(0 <= each.age < 30 for each in pulse.masters)
    assert pulse.usage == {3: b"{}"}


async def test_closed_store_is_unavailable_until_opened_again(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.leases()
    await store.open(10)
    assert await store.leases() == []


# -- only the last claimer's commits apply --------------------------------------------------------------

_STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "commit", "repeat", "skip", "renew", "release"]), st.integers(0, 1)),
    max_size=25,
)


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_only_commits_of_the_last_claimer_apply(kind: StoreKind, steps: list[tuple[str, int]]) -> None:
    asyncio.run(_walk(kind, steps))


async def _attempt(store: Store, commit: Commit, *, renew: bool) -> type[Fenced] | None:
    """The error that a commit, or a renewal under its lease, meets."""
    try:
        if renew:
            await store.renew(commit.cell, term=commit.term, nonce=commit.nonce)
        else:
            await store.commit(commit)
    except Fenced as error:
        return type(error)
    return None


async def _walk(kind: StoreKind, steps: list[tuple[str, int]]) -> None:
    """Two owners against a model: who holds the cell, and what was committed."""
    stores = [kind.store(), kind.store()]
    await stores[0].cell_count(1)
    before = (await stores[0].leases())[0]  # the examples share a server
    state = await stores[0].claim(0, owner="start", nonce=f"s{before.term}", floor=0, seen=before)
    wipe = [task(ident, None) for ident in state.tasks]
    await stores[0].commit(step(state.lease, state.lease.commit + 1, wipe))
    number, facts, holder = state.lease.commit + 1, dict[str, bytes](), -1
    leases: list[Lease | None] = [None, None]
    lasts: list[Commit | None] = [None, None]
    for at, (verb, who) in enumerate(steps):
        lease, last = leases[who], lasts[who]
        if verb == "claim":
            (seen,) = await stores[who].leases()
            snapshot = await stores[who].claim(0, owner=str(who), nonce=f"{at}-{seen.term}", floor=0, seen=seen)
            assert snapshot.lease.term > seen.term
            assert (snapshot.lease.commit, snapshot.tasks) == (number, facts)
            leases[who], lasts[who], holder = snapshot.lease, None, who
        elif lease is None:
            continue
        elif verb == "release":
            await stores[who].release(0, term=lease.term, nonce=lease.nonce)
            if holder == who:
                holder = -1
        elif verb == "repeat" and last is None:
            continue
        else:
            if verb == "repeat":
                assert last is not None
                commit = last
            else:
                following = number + (2 if verb == "skip" else 1)
                commit = step(lease, following, [task(f"t{at % 3}", b"%d" % at)], commit_id=f"{at}-{who}")
            expected = Fenced if holder != who else StoreLostData if verb == "skip" else None
            outcome = await _attempt(stores[who], commit, renew=verb == "renew")
            assert outcome is expected
            if verb == "commit" and outcome is None:
                number, lasts[who] = number + 1, commit
                facts |= {write.ident: write.value for write in commit.writes if write.value is not None}
    (seen,) = await stores[0].leases()
    final = await stores[0].claim(0, owner="end", nonce=f"e{seen.term}", floor=0, seen=seen)
    assert (final.lease.commit, final.tasks) == (number, facts)
    for made in stores:
        await made.close()


# -- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["", "a.b", "a{b", "x" * 41, "a b", "ä", "a\n"])
def test_cluster_names_that_could_mix_up_keys_are_refused(cluster: str) -> None:
    with pytest.raises(InvalidInput, match="cluster name"):
        keys.cell(cluster, 0)


def test_keys_of_one_cell_share_one_hash_tag_and_nothing_else() -> None:
    assert keys.cell("c", 3).lease == "bmesos:{c.3}:lease"
    assert {name.split(":")[1] for name in keys.cell("c", 3)} == {"{c.3}"}
    assert keys.masters("c") == "bmesos:{c}:masters"
    assert keys.records("c", "batch") == "bmesos:{c}:batch:"


# -- tries ----------------------------------------------------------------------------------------------


async def test_tries_are_counted_across_masters_and_forgotten_when_settled(store: Store, other: Store) -> None:
    assert await store.tries(0) == {}
    assert await store.trying(0, ["m1", "m2"]) == [1, 1]
    assert await other.trying(0, ["m2"]) == [2]
    assert await store.tries(0) == {"m1": 1, "m2": 2}
    await other.tried(0, ["m2", "unknown"])
    await other.tried(0, [])
    assert await store.tries(0) == {"m1": 1}
    assert await store.trying(0, []) == []
    assert await store.trying(0, ["m2"]) == [1]
    assert await store.trying(0, ["m3"], ["m1", "m2"]) == [1]
    assert await store.tries(0) == {"m3": 1}


async def test_tries_of_one_cell_are_not_another_cells(store: Store) -> None:
    await store.trying(0, ["m1"])
    assert await store.tries(1) == {}
    assert await store.trying(1, ["m1"]) == [1]


async def test_tries_need_no_lease(store: Store) -> None:
    """Who is replaced while it dies of a message has counted all the same."""
    snapshot = await take(store, "n1")
    await store.trying(0, ["m1"])
    await store.commit(step(snapshot.lease, 1))
    assert await store.tries(0) == {"m1": 1}


# -- health ---------------------------------------------------------------------------------------------


async def test_health_tells_the_clock_and_the_outboxes(store: Store) -> None:
    await store.cell_count(2)
    snapshot = await take(store, "n1", cell=1)
    await store.commit(step(snapshot.lease, 1, outbox=[entry(1), entry(2)]))
    health = await store.health()
    assert abs(health.time - time.time()) < 5
    assert health.outboxes == (0, 2)
    assert health.server and not health.error
