from __future__ import annotations

import copy
import math
import pickle
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from broker_mesos.core.model.amounts import MAX_BOUND, amount_text
from broker_mesos.core.model.resources import Resources
from broker_mesos.errors import BrokerMesosError, InvalidResources
from tests.examples import examples

FEW = settings(max_examples=examples(100), deadline=None)
AMOUNTS = st.integers(0, 20).map(lambda n: n * 125)


@st.composite
def resources(draw: st.DrawFn) -> Resources:
    scalars = draw(st.dictionaries(st.sampled_from(["cpus", "mem", "disk", "licences"]), AMOUNTS, max_size=3))
    pairs = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=4))
    kinds = draw(st.frozensets(st.sampled_from("abcde"), max_size=3))
    items = Resources.of(ports=[(low, low + more) for low, more in pairs], kinds=kinds)
    return Resources.scalars_of(scalars) + items


def members(value: Resources) -> set[object]:
    """A slow, obvious model of ranges and sets."""
    numbers = {n for low, high in value.ranges.get("ports", ()) for n in range(low, high + 1)}
    return numbers | set(value.sets.get("kinds", ()))


def test_text_is_read_and_printed_in_canonical_form() -> None:
    text = " zinc:2; ports : [33000-33100, 31000-32000,32001-32005] ;kinds:{ b,a };mem:4096;cpus:4.50;gpus:1 ; "
    value = Resources.parse(text)
    assert str(value) == "cpus:4.5;mem:4096;gpus:1;kinds:{a,b};ports:[31000-32005,33000-33100];zinc:2"
    assert value.get("cpus") == 4500
    assert value.get("ports") == 0
    assert dict(value.scalars) == {"zinc": 2000, "mem": 4096000, "cpus": 4500, "gpus": 1000}
    assert value.ranges == {"ports": ((31000, 32005), (33000, 33100))}
    assert value.sets == {"kinds": frozenset("ab")}
    assert repr(Resources.parse("cpus:1")) == "Resources('cpus:1')"


def test_nothing_has_one_form() -> None:
    for text in ("", " ; ", "cpus:0", "cpus:0.0;ports:[];kinds:{ }"):
        assert Resources.parse(text) == Resources.EMPTY == Resources() == Resources.of(mem=0, ports=[])
        assert not Resources.parse(text)
        assert str(Resources.parse(text)) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cpus:-1", "cpus: -1 is negative: write an amount of at least 0"),
        ("cpus:nan", "cpus: 'nan' is not an amount"),
        ("cpus:inf", "cpus: 'inf' is not an amount"),
        ("cpus:1e3", "is not an amount"),
        ("cpus:1_0", "is not an amount"),
        ("cpus:٣", "is not an amount"),
        ("cpus:", "cpus: '' is not an amount"),
        ("cpus:[", "is not an amount"),
        ("cpus:{", "is not an amount"),
        ("cpus", "'cpus' is not a resource: write name:amount"),
        ("cpus=1", "is not a resource"),
        ("cpus:1;cpus:2", "cpus is given twice"),
        ("cpus:0;cpus:[1-2]", "cpus is given twice"),
        ("mem:1000000000.001", "is more than 1000000000: check the unit"),
        ("mem:" + "9" * 50_000, "is more than"),
        ("gpus:0.5", "gpus:0.5 is not whole"),
        ("1a:1", "is not a name"),
        ("a b:1", "is not a name"),
        ("a" * 65 + ":1", "is not a name"),
        (":1", "is not a name"),
        ("ports:[5-3]", "ports: 5-3 is not a range"),
        ("ports:[a-b]", "'a-b' is not a range: write low-high"),
        ("ports:[1-2,]", "is not a range"),
        ("ports:[-1-2]", "is not a range"),
        (f"ports:[1-{MAX_BOUND + 1}]", "is not a range"),
        ("kinds:{a b}", "cannot be in a set"),
        ("kinds:{a,}", "cannot be in a set"),
        ("x:1\ny", "is not an amount"),
        (";" * 1_000_001, "write at most 1000000"),
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_malformed_text_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InvalidResources) as caught:
        Resources.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, BrokerMesosError)
    assert isinstance(caught.value, ValueError)


def test_text_that_is_not_text_is_refused() -> None:
    with pytest.raises(InvalidResources, match="not dict"):
        Resources.parse({"cpus": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "amount", [-1, -0.5, math.nan, math.inf, -math.inf, True, 1e10, 10**4000, Decimal("sNaN"), None, object()]
)
def test_numbers_that_are_no_amounts_are_refused(amount: object) -> None:
    with pytest.raises(InvalidResources, match=r"^cpus: "):
        Resources.of(cpus=amount)  # type: ignore[arg-type]


@pytest.mark.parametrize("ports", [[1], [(1, 2, 3)], [(2, 1)], [(-1, 1)], [(1.0, 2)], [(True, 2)], ["ab"]])
def test_pairs_that_are_no_ranges_are_refused(ports: list[object]) -> None:
    with pytest.raises(InvalidResources, match=r"^ports: "):
        Resources.of(ports=ports)


def test_raw_thousandths_are_checked() -> None:
    assert Resources.scalars_of({"cpus": 1500, "mem": 0}) == Resources.of(cpus=1.5)
    for wrong in ({"cpus": -1}, {"cpus": True}, {"cpus": 1.5}, {"gpus": 500}, {"": 1}):
        with pytest.raises(InvalidResources):
            Resources.scalars_of(wrong)  # type: ignore[arg-type]


def test_amounts_are_rounded_to_the_nearest_thousandth_half_to_even() -> None:
    assert Resources.parse("cpus:0.001;mem:0.0015;disk:1.00049") == Resources.scalars_of(
        {"cpus": 1, "mem": 2, "disk": 1000}
    )
    assert Resources.of(cpus=0.1 + 0.2) == Resources.parse("cpus:.3")


def test_a_tenth_added_ten_times_is_one() -> None:
    assert Resources.sum([Resources.of(cpus=0.1)] * 10) == Resources.of(cpus=1)
    total = Resources.EMPTY
    for _ in range(10):
        total += Resources.parse("cpus:0.1")
    assert str(total) == "cpus:1"


def test_adding_what_is_already_there_is_an_error() -> None:
    with pytest.raises(InvalidResources, match=r"ports:\[5-7\] is on both sides"):
        Resources.parse("ports:[1-7]") + Resources.parse("ports:[5-9]")
    with pytest.raises(InvalidResources, match=r"kinds:\{b\} is on both sides"):
        Resources.parse("kinds:{a,b}") + Resources.parse("kinds:{b,c}")


def test_one_name_cannot_have_two_kinds() -> None:
    scalar, numbers, names = (Resources.parse(text) for text in ("x:1", "x:[1-2]", "x:{a}"))
    for one in (scalar, numbers, names):
        for other in (scalar, numbers, names):
            if one is other:
                continue
            assert not one.contains(other)
            assert one.missing(other) == other
            assert one.clipped_minus(other) == one
            with pytest.raises(InvalidResources):
                one + other
            with pytest.raises(InvalidResources):
                one - other
    with pytest.raises(InvalidResources, match="x is an amount on one side"):
        numbers - scalar


def test_taking_too_much_names_what_is_short_and_by_how_much() -> None:
    have = Resources.parse("cpus:1.5;mem:10;ports:[1-4]")
    with pytest.raises(InvalidResources, match=r"short of cpus:0\.5;ports:\[5-6\]$"):
        have - Resources.parse("cpus:2;mem:10;ports:[3-6]")
    with pytest.raises(InvalidResources, match=r"out of nothing: short of cpus:1$"):
        Resources.EMPTY - Resources.parse("cpus:1")
    assert have == Resources.parse("cpus:1.5;mem:10;ports:[1-4]")


def test_sum_of_nothing_is_nothing() -> None:
    assert Resources.sum([]) == Resources.EMPTY


def test_members_count_as_whole_units() -> None:
    value = Resources.parse("cpus:1.5;ports:[1-10,20-20];kinds:{a,b}")
    assert value.quantities() == {"cpus": 1500, "ports": 11_000, "kinds": 2000}
    assert value.counted() + value.counted() == Resources.parse("cpus:3;ports:22;kinds:4")


def test_dominant_share_is_the_largest_over_the_total() -> None:
    total = Resources.parse("cpus:10;mem:1000;gpus:2;ports:[1-10]")
    used = Resources.parse("cpus:2;mem:500;gpus:2;odd:7")
    assert used.dominant_share(total) == 1.0
    assert used.dominant_share(total, exclude={"gpus"}) == 0.5
    assert Resources.EMPTY.dominant_share(total) == 0.0
    assert used.dominant_share(Resources.EMPTY) == 0.0


def test_numbers_for_display_can_be_read_back() -> None:
    value = Resources.parse("mem:1024;cpus:1.5;ports:[31000-31005];kinds:{b,a}")
    assert value.as_numbers() == {"cpus": 1.5, "mem": 1024, "ports": "[31000-31005]", "kinds": "{a,b}"}
    assert list(value.as_numbers()) == ["cpus", "mem", "kinds", "ports"]
    assert Resources.from_mapping(value.as_numbers()) == value
    assert amount_text(1050) == "1.05"


def test_a_value_cannot_be_changed() -> None:
    value = Resources.parse("cpus:1")
    with pytest.raises(AttributeError):
        value.scalars = {}  # type: ignore[misc]
    with pytest.raises(AttributeError):
        value.more = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        value.scalars["cpus"] = 2  # type: ignore[index]
    assert copy.deepcopy(value) is value
    assert value != "cpus:1"
    with pytest.raises(TypeError):
        value + 1  # type: ignore[operator]


class Thing(BaseModel):
    resources: Resources = Resources.EMPTY


def test_a_model_takes_text_tables_and_values_and_writes_text() -> None:
    for given_as in ("cpus:1.5;mem:2", {"cpus": 1.5, "mem": 2}, Resources.of(cpus=1.5, mem=2)):
        thing = Thing.model_validate({"resources": given_as})
        assert thing.model_dump() == {"resources": "cpus:1.5;mem:2"}
        assert Thing.model_validate_json(thing.model_dump_json()) == thing
    assert Thing().model_dump_json() == '{"resources":""}'
    assert Thing.model_json_schema()["properties"]["resources"]["type"] == "string"
    assert Thing.model_json_schema(mode="serialization")["properties"]["resources"]["type"] == "string"


@pytest.mark.parametrize("wrong", ["cpus:-1", {"cpus": -1}, {1: 1}, 7, None, ["cpus:1"]])
def test_a_model_refuses_what_is_no_resource(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Thing.model_validate({"resources": wrong})


@FEW
@given(resources())
def test_round_trips(a: Resources) -> None:
    for other in (
        Resources.parse(str(a)),
        Resources.from_mapping(a.as_numbers()),
        pickle.loads(pickle.dumps(a)),
    ):
        assert other == a
        assert hash(other) == hash(a)
        assert str(other) == str(a)


@FEW
@given(resources(), resources())
def test_adding_commutes_and_taking_away_undoes_it(a: Resources, b: Resources) -> None:
    if members(a) & members(b):
        with pytest.raises(InvalidResources):
            a + b
        return
    assert a + b == b + a == Resources.sum([b, a])
    assert (a + b) - b == a
    assert members(a + b) == members(a) | members(b)
    assert a <= a + b and a + b >= b


@FEW
@given(resources(), resources())
def test_containing_means_that_subtraction_works_and_nothing_is_missing(a: Resources, b: Resources) -> None:
    fits = all(a.get(n) >= amount for n, amount in b.scalars.items()) and members(b) <= members(a)
    assert a.contains(b) is fits is (b <= a) is (not a.missing(b))
    assert members(a.missing(b)) == members(b) - members(a)
    assert members(a.clipped_minus(b)) == members(a) - members(b)
    if fits:
        assert (a - b) + b == a
        assert a - b == a.clipped_minus(b)
    else:
        with pytest.raises(InvalidResources):
            a - b
        held = b.clipped_minus(a.missing(b))
        assert a.contains(held)


@FEW
@given(resources(), resources(), resources())
def test_equal_values_built_in_any_order_are_one_key(a: Resources, b: Resources, c: Resources) -> None:
    a, b, c = (Resources.scalars_of(dict(x.scalars)) for x in (a, b, c))
    assert len({(a + b) + c, a + (b + c), Resources.sum([c, a, b])}) == 1


@pytest.mark.parametrize("amount", ["0.0001", "1e-5", "0.00099999", "0.0005"])
@pytest.mark.parametrize("name", ["cpus", "mem", "licences"])
def test_amount_that_would_round_to_nothing_is_refused(name: str, amount: str) -> None:
    with pytest.raises(InvalidResources, match=r"less than 0\.001"):
        Resources.from_mapping({name: float(amount)})
    if "e" not in amount:
        with pytest.raises(InvalidResources, match=r"less than 0\.001"):
            Resources.parse(f"{name}:{amount}")
