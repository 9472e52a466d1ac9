"""Paths in a sandbox, and names of output files that are made from patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.model.sandbox_path import (
    check_directory,
    check_output_name,
    check_patterns,
    expand,
    is_sandbox_path,
)
from broker_mesos.core.model.task_input import MAX_STDIN_BYTES, MAX_STDIN_CHARS, decode_stdin, encode_stdin
from broker_mesos.errors import InvalidInput

VALUES = {"j": "abc", "a": "7", "n": "train", "u": "ann"}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("%n-%j_%a.txt", "train-abc_7.txt"),
        ("%x-%A.txt", "train-abc.txt"),
        ("%u/100%%", "ann/100%"),
        ("plain", "plain"),
    ],
)
def test_a_pattern_makes_a_name(pattern: str, name: str) -> None:
    assert expand(pattern, VALUES) == name


@pytest.mark.parametrize("value", ["a/b", "..", ".", "", "/", "../../etc/passwd", "\0"])
def test_no_value_leads_out_of_the_folder_that_the_pattern_names(value: str) -> None:
    name = expand("out/%n", {**VALUES, "n": value})
    assert is_sandbox_path(name) and name.count("/") == 1


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_the_values_are_a_pattern_that_was_accepted_names_a_file_in_the_sandbox(name: str, user: str) -> None:
    made = expand("%u/x-%n", {**VALUES, "n": name, "u": user})
    assert is_sandbox_path(made)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "stdout", "stderr", "stdin"])
def test_a_name_out_of_the_sandbox_or_of_another_file_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_output_name(name)


@pytest.mark.parametrize(
    ("stdout", "stderr", "message"),
    [
        ("%q", "", "%q has no meaning"),
        ("a%", "", "% has no meaning"),
        ("", "../x", "is not the name of a file in the task's sandbox"),
        ("%n", "train", "both go to 'train'"),
        ("%n" * 300, "", "makes a name of 1500 characters"),
    ],
)
def test_a_wrong_pattern_is_refused_in_one_line(stdout: str, stderr: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        check_patterns(stdout, stderr, VALUES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["..", "a/../b", "", "a//b", "x\0"])
def test_a_directory_is_absolute_or_in_the_sandbox(path: str) -> None:
    assert check_directory("/data/../x") == "/data/../x" and check_directory("a/b") == "a/b"
    if path:
        with pytest.raises(InvalidInput):
            check_directory(path)
    else:
        assert check_directory(path) == ""


def test_an_input_of_the_largest_size_fits_and_one_more_byte_is_refused() -> None:
    data = bytes(range(256)) * (MAX_STDIN_BYTES // 256)
    text = encode_stdin(data)
    assert len(text) == MAX_STDIN_CHARS and decode_stdin(text) == data
    with pytest.raises(InvalidInput, match="has more than 131072 bytes"):
        encode_stdin(data + b"x", "stdin")
