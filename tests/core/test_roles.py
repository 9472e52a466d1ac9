from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.model.roles import MAX_ROLE, ancestors, check_role, is_within, lineage
from broker_mesos.errors import InvalidInput

SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,4}", fullmatch=True)
ROLE = st.lists(SEGMENT, min_size=1, max_size=5).map("/".join)


@pytest.mark.parametrize("name", ["*", "eng", "eng/db", "a.b/c_d/e-f", "...", "0/1", "a" * MAX_ROLE])
def test_names_and_paths_of_names_are_roles(name: str):
    assert check_role(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/",
            "/eng",
            "eng/",
            "eng//db",
            ".",
            "..",
            "eng/..",
            "./eng",
            "-eng",
            "eng/-db",
            "*/eng",
            "eng/*",
        ),
        *(
            "eng db",
            "eng\n",
            "eng\x00",
            "é",
            "eng\\db",
            "a" * (MAX_ROLE + 1),
            "/" * 200,
            "**",
            None,
            7,
            b"eng",
        ),
    ],
)
def test_what_is_no_role_is_refused_in_one_line(name: object):
    with pytest.raises(InvalidInput) as refused:
        check_role(name)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 200


def test_ancestors_are_named_nearest_first():
    assert ancestors("a/b/c") == ("a/b", "a")
    assert lineage("a/b/c") == ("a/b/c", "a/b", "a")
    assert ancestors("a") == ancestors("*") == ()


def test_a_role_is_within_itself_and_its_ancestors_but_not_within_a_namesake():
    assert is_within("a/b", "a/b") and is_within("a/b", "a")
    assert not is_within("a", "a/b") and not is_within("ab", "a") and not is_within("a", "*")


@given(ROLE, ROLE)
def test_a_role_is_within_exactly_its_lineage(role: str, other: str):
    assert check_role(role) == role
    assert is_within(role, other) == (other in lineage(role))
    assert all(is_within(role, each) for each in lineage(role))
    assert ancestors(role + "/x") == lineage(role)
