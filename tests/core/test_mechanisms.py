"""The mechanisms by which agents hold tasks, as they are shown."""

from __future__ import annotations

import pytest

from broker_mesos.containerizer.cgroups.driver import CAPABILITIES
from broker_mesos.core.model.mechanisms import MECHANISMS, NOT_WISHED, level_of, why_missing
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_isolation import LEVEL_WORDS, TaskIsolation, demanded_words


def test_every_word_that_is_demanded_or_found_is_described() -> None:
    everything = TaskIsolation(level="sandboxed", pids=1, rlimits={"core": 0}, pin=True, network="none", rootfs="/r")
    words = {*demanded_words(everything, Resources.parse("cpus:1")), *demanded_words(TaskIsolation(image="a"), None)}
    assert {*words, *CAPABILITIES, *LEVEL_WORDS["sandboxed"]} <= set(MECHANISMS)


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ((), ""),
        (("mem",), ""),
        (("pids", "mem", "kill", "oom"), "limits"),
        (("mem", "pids", "kill", "fs"), "limits"),
        (("mem", "pids", "kill", "fs", "pid"), "sandboxed"),
    ],
)
def test_the_level_is_the_highest_whose_words_are_all_there(words: tuple[str, ...], level: str) -> None:
    assert level_of(words) == level


def test_what_the_agent_has_found_itself_goes_before_what_a_mechanism_needs() -> None:
    assert why_missing("mem", (), "", {}) == NOT_WISHED
    assert why_missing("mem", (), "no cgroups", {}) == "no cgroups"
    assert why_missing("net", ("mem",), "", {"net": "bwrap: no permission"}) == "bwrap: no permission"
    assert why_missing("net", ("mem",), "", {}).startswith("it needs network namespaces")
    assert why_missing("later", ("mem",), "", {}) == "not known to this release"
