from __future__ import annotations

import pickle
import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from broker_mesos.core.model.attributes import Constraint, attributes_text, check_attributes, parse_attributes
from broker_mesos.core.model.bounded_regex import MAX_STEPS, Pattern, compile_pattern
from broker_mesos.errors import InvalidInput
from tests.examples import examples

FEW = settings(max_examples=examples(100), deadline=None)
NAMES = st.builds("{}{}".format, st.sampled_from("aZ_"), st.text("bY0_.-", max_size=6))
VALUES = st.text("abc:=!~ é/[", min_size=1, max_size=8).map(str.strip).filter(bool)
RACK = {"rack": "r1"}


def test_attributes_are_read_and_printed_sorted() -> None:
    attributes = parse_attributes(" zone : eu-1;rack:r1; slots:4;url:http://x:1/ ;")
    assert attributes == {"rack": "r1", "zone": "eu-1", "slots": "4", "url": "http://x:1/"}
    assert attributes_text(attributes) == "rack:r1;slots:4;url:http://x:1/;zone:eu-1"
    assert parse_attributes(" ") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rack", "'rack' is not an attribute: write name:value"),
        ("rack:", "attribute rack has 0 characters"),
        ("rack:" + "x" * 257, "attribute rack has 257 characters"),
        ("rack:a;rack:b", "attribute rack is given twice"),
        ("1:a", "'1' is not an attribute's name"),
        (":a", "is not an attribute's name"),
        ("rack:a\nb", "is not one line of text"),
        ("hostname:a", "hostname is set by the agent itself"),
    ],
)
def test_wrong_attributes_are_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_attributes(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_attributes_from_elsewhere_are_checked() -> None:
    assert check_attributes(RACK) == RACK
    assert check_attributes(RACK) is not RACK
    for wrong in ({"rack": 1}, {"rack": "a;b"}, {"rack": " a"}, {1: "a"}):
        with pytest.raises(InvalidInput):
            check_attributes(wrong)  # type: ignore[arg-type]


@FEW
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_attributes_round_trip(attributes: dict[str, str]) -> None:
    assert parse_attributes(attributes_text(attributes)) == attributes


@pytest.mark.parametrize(
    ("text", "holds", "without"),
    [
        ("rack==r1", True, False),
        ("rack==r", False, False),
        ("rack!=r1", False, True),
        ("rack!=r2", True, True),
        ("rack~=r[0-9]+", True, False),
        ("rack~=r", False, False),
        ("rack!~r.", False, True),
        ("rack!~x.*", True, True),
        ("rack", True, False),
        ("!rack", False, True),
        ("hostname==a1", True, True),
        ("hostname~=a[2-9]|b.*", False, False),
        ("hostname", True, True),
        ("!hostname", False, False),
        ("agent==id-1", True, True),
        ("agent!=id-1", False, False),
        ("agent~=id-[0-9]", True, True),
        ("!agent", False, False),
    ],
)
def test_a_constraint_holds_or_explains_why_not(text: str, holds: bool, without: bool) -> None:
    constraint = Constraint.parse(text)
    for attributes, expected in ((RACK, holds), ({}, without)):
        assert constraint.matches(attributes, "a1", "id-1") is expected
        assert (constraint.explain(attributes, "a1", "id-1") is None) is expected


def test_explanations_are_short_sentences() -> None:
    def why(text: str, **attributes: str) -> str | None:
        return Constraint.parse(text).explain(attributes, "a1", "id-1")

    assert why("rack==r1", rack="r2") == "rack is r2, wanted r1"
    assert why("rack==r1") == "rack is not set, wanted r1"
    assert why("rack!=r1", rack="r1") == "rack is r1, wanted any other"
    assert why("rack~=r.", rack="x") == "rack is x, wanted one like r."
    assert why("rack~=r.") == "rack is not set, wanted one like r."
    assert why("rack!~r.", rack="r1") == "rack is r1, wanted none like r."
    assert why("rack") == "rack is not set"
    assert why("!rack", rack="r1") == "rack is r1, wanted none"
    assert why("hostname==b") == "hostname is a1, wanted b"
    assert why("agent!=id-1") == "agent is id-1, wanted any other"


def test_the_hostname_and_the_id_are_never_looked_up_in_the_attributes() -> None:
    assert not Constraint.parse("hostname==fake").matches({"hostname": "fake"}, "a1", "id-1")
    assert not Constraint.parse("agent==fake").matches({"agent": "fake"}, "a1", "id-1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a constraint: write rack==r1"),
        ("rack=r1", "is not a constraint"),
        ("rack>3", "is not a constraint"),
        ("!rack==r1", "is not a constraint"),
        ("1rack", "is not a constraint"),
        ("a" * 65, "is not an attribute's name"),
        ("rack==", "the value has 0 characters"),
        ("rack==" + "x" * 257, "the value has 257 characters"),
        ("rack~=" + "x" * 257, "the value has 257 characters"),
        ("x" * 600, "of 600 characters"),
        ("rack==a\tb", "is not one line of text"),
        ("rack~=(a", "constraint rack~=: the pattern '(a' has a '(' without its ')'"),
        ("rack!~[a", "has a '[' without its ']'"),
    ],
    ids=lambda text: ascii(text[:16]),
)
def test_wrong_constraints_are_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Constraint.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_operands_are_checked_as_text_is() -> None:
    with pytest.raises(InvalidInput, match="takes no value"):
        Constraint("rack", "exists", "x")
    with pytest.raises(InvalidInput, match="not int"):
        Constraint.parse(1)  # type: ignore[arg-type]


@FEW
@given(NAMES, st.sampled_from(["==", "!="]), VALUES)
def test_constraints_round_trip(name: str, operator: str, value: str) -> None:
    constraint = Constraint.parse(f" {name} {operator} {value} ")
    assert str(constraint) == f"{name}{operator}{value}"
    assert (constraint.name, constraint.operator, constraint.value) == (name, operator, value)
    assert Constraint.parse(str(constraint)) == constraint == pickle.loads(pickle.dumps(constraint))
    assert len({constraint, Constraint.parse(str(constraint))}) == 1
    assert constraint != Constraint.parse(name)


def test_a_constraint_cannot_be_changed() -> None:
    constraint = Constraint.parse("rack")
    with pytest.raises(AttributeError):
        constraint.value = "x"  # type: ignore[misc]


class Thing(BaseModel):
    constraints: list[Constraint] = []


def test_a_model_takes_and_writes_text() -> None:
    thing = Thing.model_validate({"constraints": ["rack == r1", Constraint.parse("!gpu")]})
    assert thing.model_dump() == {"constraints": ["rack==r1", "!gpu"]}
    assert Thing.model_validate_json(thing.model_dump_json()) == thing
    assert Thing.model_json_schema()["properties"]["constraints"]["items"]["type"] == "string"
    for wrong in ("rack~=(", 1, None):
        with pytest.raises(ValidationError):
            Thing.model_validate({"constraints": [wrong]})


@pytest.mark.parametrize(
    "pattern",
    [
        "a|bc|", "(a|b)*c", "a+b?", "(?:ab){2}", "a{1,}b{0,2}", "[a-b]+", "[^c]*", "[]a]b", r"\w\d?", r"a\.b",
        ".*", "^a*$", "(?i)A+B", "a*?b", "((a*)*)*b", "(a|a)(b|ab|c)", r"[\d.c]+", "", "()", "a{2}",
        r"\Wa|\s", "é",
    ],
)  # fmt: skip
def test_patterns_agree_with_python(pattern: str) -> None:
    ours, theirs = Pattern(pattern), re.compile(pattern, re.ASCII | re.DOTALL)
    texts = [""]
    for _ in range(4):
        texts = [""] + [text + more for text in texts for more in "abc.1"]
    for text in [*texts, "A", "AAB", "é", "\n", " ", "]b"]:
        assert ours.fullmatch(text) is bool(theirs.fullmatch(text)), text


PIECES = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]"]),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "{1,2}", "{2}"])),
    ),
    max_leaves=6,
)


@FEW
@given(PIECES, st.lists(st.text("abc", max_size=5), max_size=8))
def test_any_pattern_agrees_with_python(pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert compile_pattern(pattern).fullmatch(text) is bool(re.fullmatch(pattern, text, re.DOTALL))


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a*)*b", "a*" * 60 + "b", "(a?){100}a{100}b"])
def test_a_pattern_that_makes_backtracking_explode_just_fails(pattern: str) -> None:
    assert not Pattern(pattern).fullmatch("a" * 256)  # would not end within the age of the universe


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("x" * 257, "has 257 characters"),
        (f"a{{{MAX_STEPS}}}", "repeats too much"),
        ("((a{100}){100}){100}", "repeats too much"),
        ("(((a{0}){9999}){9999}){9999}", "repeats too much"),
        ("((){9999}){9999}", "repeats too much"),
        ("(" * 100, "nested more than"),
        ("a)", "has a ')' too many"),
        ("*a", "has a '*' where it means nothing"),
        ("a**", "repeats a repetition"),
        ("a{3,2}", "has a count"),
        ("a{x}", "has a '{' where"),
        ("a^b", "has a '^' where"),
        ("(a$)b", "has a '$' where"),
        (r"\bx", "is not known here"),
        (r"(a)\1", "is not known here"),
        ("a\\", "is not known here"),
        ("(?=a)", "only '(?:' is known"),
        ("(?P<x>a)", "only '(?:' is known"),
        ("[z-a]", "has a wrong part"),
        ("[[:alpha:]]", "put a backslash before it"),
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_wrong_patterns_are_refused(pattern: str, words: str) -> None:
    with warnings.catch_warnings(action="error"), pytest.raises(InvalidInput) as caught:
        Pattern(pattern)
    assert words in str(caught.value)
