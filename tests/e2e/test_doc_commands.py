"""The commands of the README, the quickstart and the guide to jobs, typed as they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile

import pytest

from tests.doc_commands import ROOT, Shown, blocks, commands
from tests.e2e.cluster import BMESOS, Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until

PAGES = ("README.md", "docs/quickstart.md", "docs/jobs.md")
DAEMONS = ("local", "master", "agent", "framework", "web", "simulate")
EXIT_CODES = {
    "bmesos plan --cpus 64 -- true": 1,
    "bmesos plan --role eng --cpus 3 -- true": 1,
    "bmesos plan --require-isolation limits -- true": 1,
    "bmesos plan --rootfs /srv/root.tar -- true": 1,
    "bmesos plan --ports 900 -- true": 1,
    "bmesos submit --wait --time-limit 1s -- sleep 60": 143,
    "bmesos retry --wait JOB": 75,
}
"""Of commands that do not end with 0."""


class Reader:
    """Types what a section shows, one line after the other. ``JOB`` is the job that was submitted last."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._variables: dict[str, str] = {}
        self._job = ""

    def type(self, each: Shown) -> str:
        """Run one line, assert how it ends, and return what it prints."""
        line = each.line
        if line.startswith("bmesos exec"):
            return self._type_beside_a_task(line)
        if "JOB" in line:
            if not self._job:
                self._job = self._run("bmesos submit -- true").stdout.strip()
            self._run(f"bmesos wait {self._job}")  # as a person reads for a while before they type on
            line = re.sub(r"\bJOB\b", self._job, line)
        done = self._run(line)
        assert done.returncode == EXIT_CODES.get(each.line, 0), (line, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        if each.line.startswith("bmesos submit") and "--help" not in line:
            self._job = done.stdout.split()[0]
        if each.variable:
            self._variables[each.variable] = done.stdout.strip()
        return done.stdout

    def _type_beside_a_task(self, line: str) -> str:
        """Run ``bmesos exec`` beside a task that runs; a shell at a terminal is left by ``exit``."""
        array = "--array 1-3 --cpus 0.1" if "JOB.3" in line else ""
        job = self._run(f"bmesos submit {array} -- sleep 600").stdout.strip()
        name = re.sub(r"\bJOB\b", job, re.search(r"JOB[.\d]*", line)[0])  # type: ignore[index]
        until("a task beside which to run it", lambda: self._run(f"bmesos exec {name} -- true").returncode == 0)
        with tarfile.open(self._cluster.tmp / "files.tar", "w"):
            pass
        line = re.sub(r"\bJOB\b", job, line)
        done = self._run(f"echo exit | script -qec {shlex.quote(line)} /dev/null" if " -it " in line else line)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        self._run(f"bmesos kill {job}")
        return done.stdout

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        path = f"{os.path.dirname(BMESOS)}:{os.environ['PATH']}"
        url = self._cluster.of("web")[0].url
        environment = {**self._cluster.env, **self._variables, "PATH": path, "BMESOS_URL": url}
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self._cluster.tmp,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )


def sections() -> list[tuple[str, str, list[Shown]]]:
    """Page, heading and commands of each section that shows commands which are no daemons."""
    found = []
    for name in PAGES:
        for part in re.split(r"^## ", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            lines = [each for each in commands(part) if each.line.split()[1] not in DAEMONS]
            if lines:
                found.append((name, part.partition("\n")[0], lines))
    return found


def test_the_pages_have_commands_to_type():
    assert {page for page, _, _ in sections()} == set(PAGES)
    assert sum(len(lines) for _, _, lines in sections()) > 40


@pytest.mark.parametrize(
    ("page", "heading", "lines"), sections(), ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_command_of_a_section_works_as_it_stands(cluster: Cluster, page: str, heading: str, lines: list[Shown]):
    (cluster.tmp / "job.yaml").write_text(blocks((ROOT / "docs" / "jobs.md").read_text(encoding="utf-8"), "yaml")[0])
    reader = Reader(cluster)
    for each in lines:
        printed = reader.type(each)
        if each.comment.isdecimal():
            assert printed == f"{each.comment}\n", each.line


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_as_it_stands(cluster: Cluster, page: str):
    programs = blocks((ROOT / page).read_text(encoding="utf-8"), "python")
    assert programs
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=cluster.tmp,
            env={**cluster.env, "BMESOS_URL": cluster.of("web")[0].url},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_daemons_of_the_readme_are_a_cluster(new_cluster: NewCluster):
    cluster = new_cluster()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## On real servers") :]
    lines = [each.line.split()[1:] for each in commands(section)]
    assert [words[0] for words in lines] == ["master", "agent", "framework", "web"]
    for words in lines:
        cluster.start(*words, *(["--port", "0"] if words[0] == "web" else ()), name=words[0])
    done = cluster.cli("submit", "--wait", "--timeout", "20", "--", "echo", "hello")
    assert done.returncode == 0, done.stderr
    logs = cluster.cli("logs", done.stdout.strip())
    assert logs.stdout == "hello\n"
