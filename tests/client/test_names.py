"""Names of jobs: what people give, and what is made of a command."""

from __future__ import annotations

import pytest

from broker_mesos.client.names import name_of
from broker_mesos.client.spec import build_spec
from broker_mesos.errors import InvalidInput


@pytest.mark.parametrize("name", [" ", "\t", "\n", "\u3000"])
def test_a_blank_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name is blank; write a word"):
        build_spec("true", name=name)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[31mred", "a\x7f", "a\u2028b", "a\x9bb"])
def test_a_name_with_control_characters_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"name .*: '\\.*' is a control character"):
        build_spec("true", name=name)


@pytest.mark.parametrize("name", ["train", "two words", "ü…", "\u4e00\u3000\u4e8c", "\U0001f469\u200d\U0001f4bb"])
def test_other_names_are_taken(name: str) -> None:
    assert build_spec("true", name=name).name == name


def test_a_name_that_is_made_of_a_command_has_no_control_characters() -> None:
    assert name_of("/bin/a\nb\x1b", shell=False) == "a?b?"
    assert name_of("  echo\ta\nb", shell=True) == "echo?a"
    assert build_spec([" "]).name == ""
