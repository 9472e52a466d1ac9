"""Every parser of text either understands a text or refuses it in one line; it never fails in another way."""

from __future__ import annotations

import ast
import os
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import broker_mesos
from broker_mesos.agent import probe
from broker_mesos.bus import topology
from broker_mesos.cli import job_filters, jobfile, maintenance, options, roles
from broker_mesos.client import durations, locality, names, spec
from broker_mesos.containerizer import gpu_devices
from broker_mesos.core.api import access, agent_rows, paging
from broker_mesos.core.model import bounded_regex, host_path, job_array, sandbox_path, task_input
from broker_mesos.core.model import roles as role_names
from broker_mesos.core.model.attributes import Constraint, attributes_text, parse_attributes
from broker_mesos.core.model.job import Dependency
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol import users
from broker_mesos.core.quota import config_changes, gang_token, ledger
from broker_mesos.errors import BrokerMesosError, InvalidInput
from broker_mesos.frameworks.batch.storage import records
from broker_mesos.master import dead_letters, undecodable
from broker_mesos.runtime import failpoints, loopback, policy_file, settings, toml_reader, urls
from broker_mesos.simulated import durations as simulated
from broker_mesos.store import keys
from broker_mesos.web import address, guard
from broker_mesos.web.app import parse_request
from tests.fuzz.effort import check_line, count, fuzz

NASTY = (
    "",
    "9" * 5_000,
    "0" * 5_000 + "1",
    "1" + "0" * 400,
    "1e999",
    "-1",
    "1e308",
    "1e-400",
    "nan",
    "inf",
    "\u0663",
    "\u00b2",
    "\u2028",
    "\0",
    "\n",
    "\ud800",
    " ",
    "(" * 300,
    "[" * 3_000,
    "{1,9}" * 20,
    "a|" * 100,
    "%",
    "%%%j",
    "'",
    '"',
    "\\",
    "&a *a",
    "\x1b[0m",
    "x" * 20_000,
    ":" * 50,
    ";" * 50,
    "/" * 50,
    "../",
    "@",
    "~",
    "-",
    ",",
    "=",
)


@st.composite
def texts(draw: st.DrawFn, *valid: str) -> str:
    """Texts like these, with pieces of them exchanged, removed, repeated, or replaced by what nobody expects."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=30))
    parts = re.findall(r"\w+|\W", draw(st.sampled_from(valid)))
    others = [part for text in valid for part in re.findall(r"\w+|\W", text)]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(parts)))
        piece = draw(st.sampled_from(NASTY) | st.sampled_from(others))
        match draw(st.sampled_from("rids")):
            case "r":
                parts[at : at + 1] = [piece]
            case "i":
                parts.insert(at, piece)
            case "d":
                del parts[at : at + 1]
            case _:
                parts[at:at] = parts[at : at + 3] * draw(st.sampled_from((1, 50)))
    return "".join(parts)


def in_file(suffix: str, read: Callable[[Path], Any]) -> Callable[[str], Any]:
    """The parser of a file, for its content."""

    def parse(text: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"file{suffix}"
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            return read(path)

    return parse


def in_environment(name: str) -> Callable[[str], Any]:
    """The parser of a setting, for its value."""

    def parse(text: str) -> Any:
        if "\0" in text:
            return None  # no variable can have it
        variable = f"BMESOS_{name.upper()}"
        before = dict(os.environ)
        try:
            os.environ[variable] = text
        except UnicodeEncodeError:
            return None
        try:
            return settings.load()
        finally:
            os.environ.clear()
            os.environ.update(before)

    return parse


def a_resource(text: str) -> None:
    """It stays within its bounds, and is the same after it was written and read."""
    found = Resources.parse(text)
    assert Resources.parse(str(found)) == found
    assert all(0 < amount <= 10**12 for amount in found.scalars.values())
    assert all(isinstance(amount, int) for amount in found.quantities().values())


def attributes(text: str) -> None:
    found = parse_attributes(text)
    assert parse_attributes(attributes_text(found)) == found


def constraint(text: str) -> None:
    found = Constraint.parse(text)
    assert Constraint.parse(str(found)) == found
    found.explain({"rack": "r1" * 50, "zone": ""}, "host", "a1")


def array(text: str) -> None:
    found = job_array.parse_array(text)
    if not job_array.problem_of(found.array, found.ranges):
        assert 0 < job_array.size_of(found.array, found.ranges) <= job_array.MAX_ARRAY


def bounded(seconds: float | None) -> None:
    assert seconds is None or 0 <= seconds < 1e20


def run_time(text: str) -> None:
    rng = random.Random(1)
    draw = simulated.durations(text, rng)
    bounded(draw())
    bounded(simulated.remaining(draw, rng))


def a_url(text: str) -> None:
    checked = urls.check_url(text, ("amqp", "amqps", "redis", "http", "https"), "amqp://host")
    urls.endpoint(checked)
    urls.plaintext_problem(checked)
    for password in urls.passwords(checked):
        assert len(password) < 4 or password not in urls.redact(checked)


def shown_url(text: str) -> None:
    urls.redact(text)
    urls.passwords(text)


def in_turn(*parsers: Callable[[str], Any]) -> Callable[[str], Any]:
    """All of these, each with the whole text; it is refused if all refuse it."""

    def parse(text: str) -> None:
        refused = []
        for each in parsers:
            try:
                each(text)
            except InvalidInput as error:
                check_line(error)
                refused.append(error)
        if len(refused) == len(parsers):
            raise refused[0]

    return parse


def option_of_a_job(name: str) -> Callable[[str], Any]:
    return lambda text: spec.build_spec("true", **{name: text})  # type: ignore[misc]


def token(text: str) -> None:
    access.parse_policy({}).authenticate(text, 0.0)


def cursor(text: str) -> None:
    paging.decode(("tasks",), text)


def failpoint(text: str) -> None:
    """It is armed for nobody: the names of this test are no failpoints."""
    try:
        failpoints.arm(text)
    finally:
        failpoints._armed.clear()


RESOURCES = ("cpus:1.5;mem:1024", "ports:[31000-32000,33000-33100]", "kinds:{a,b}", "gpus:0", "disk:1e3", "")
TIMES = ("90s", "5m", "1.5h", "2d", "01:30", "12:30:00", "500ms", "5")
URLS = (
    "amqp://user:pass@host:5672/%2F?a=b",
    "redis://[::1]:6379/0",
    "https://host",
    "amqp://a@b@c",
    "http://u:p%40w@127.0.0.1:1/#x",
)
POLICY = (
    '[principal.ann]\nactions = ["view", "kill:own"]\nroles = ["eng", "eng/*"]\n'
    'tokens = [{id = "k3t9x2ab", sha256 = "' + "a" * 64 + '", expires = 2030-01-01T00:00:00Z}]\n'
    "[default]\nactions = []\n",
)
JOB_FILE = (
    "name: train\ncommand: [python, train.py]\ncpus: 2\nmem: 2G\narray: 1-10:3,20%2\nenv: {A: 1, B: x}\n"
    "after: any:j1\ntime_limit: 5m\nretry_on: '75,137'\nstdout: out/%j.%a\nprefer: rack==r1\n",
    "command: |\n  echo a\n  echo b\nretry_on: ['1']\n",
    "command: &a [x]\nenv: *a\n",
)
REQUESTS = (
    '{"type": "GET_JOBS", "limit": 5, "which": {"kind": "active", "since": 1.0}}',
    '{"type": "SUBMIT_JOB", "job_id": "j", "spec": {"command": {"arguments": ["x"]}, "array": [0, 9]}}',
    '{"type": "SET_ROLES", "roles": {"eng": {"weight": 2.0, "limit": "cpus:1"}}}',
)
TOML = ('cluster = "c"\ncells = 3\nbroker_url = "amqp://localhost"\n', "[agent]\nx = 1\n")

ROW = agent_rows.Row("node-1", "h", 2, 0, 1, {"cpus": 1_000}, {}, {}, {"rack": "r07"}, None)

PARSERS: dict[str, tuple[Callable[[str], Any], tuple[str, ...]]] = {
    "core/model/resources.py:parse": (a_resource, RESOURCES),
    "core/model/attributes.py:parse_attributes": (attributes, ("rack:r1;zone:eu-1;slots:4", "a:b")),
    "core/model/attributes.py:parse": (constraint, ("rack==r1", "rack!~r[0-9]+", "!rack", "hostname~=(a|b)*c{1,3}")),
    "core/model/bounded_regex.py:compile_pattern": (
        lambda text: bounded_regex.compile_pattern(text).fullmatch("aab" * 30),
        (r"(a+)+b", r"[a-z]\d{1,3}|x?", "(?i)A.*", r"[^\]]+$"),
    ),
    "core/model/host_path.py:parse_host_path": (
        host_path.parse_host_path,
        ("/data:rw", "/srv/models:/models:ro", "/a"),
    ),
    "core/api/agent_rows.py:parse_filter": (
        lambda text: agent_rows.parse_filter(text)(ROW),
        ("rack:r07 state!=ready", "cell=2 node", "state=gone"),
    ),
    "core/model/job.py:parse": (Dependency.parse, ("j1", "any:j1", "ok:j.2")),
    "core/model/job_array.py:parse_array": (array, ("50", "0-9", "1-10:3,20%2", "1-100%5")),
    "core/model/task_input.py:decode_stdin": (task_input.decode_stdin, ("aGVsbG8=", "aGVsbG8")),
    "core/model/sandbox_path.py:check_patterns": (
        lambda text: sandbox_path.check_patterns(text, "", {"j": "job", "a": "1", "n": "name", "u": "me"}),
        ("out/%j.%a", "%n-%u.txt", "%%", "../x"),
    ),
    "core/model/sandbox_path.py:check_directory": (sandbox_path.check_directory, ("build", "/tmp", "a/../b")),
    "core/model/roles.py:check_role": (role_names.check_role, ("eng", "eng/db", "*")),
    "core/protocol/users.py:check_user": (users.check_user, ("ann", "agent-1")),
    "core/quota/config_changes.py:parse_limit": (config_changes.parse_limit, ("cpus:8;gpus:0", "mem:1.5")),
    "core/quota/config_changes.py:parse_guarantee": (config_changes.parse_guarantee, ("cpus:4;mem:4096",)),
    "core/quota/gang_token.py:read": (
        gang_token.read,
        ('{"holder": {"framework_id": "f", "gang": "g", "number": 1}, "number": 1, "served": [["f", "g"]]}',),
    ),
    "core/quota/ledger.py:read": (ledger.read, ('{"term": 1, "number": 2, "since": 3, "amounts": {"cpus": 1}}',)),
    "core/api/access.py:authenticate": (token, ("bm1_k3t9x2ab_" + "a" * 43, "bm1__")),
    "core/api/paging.py:decode": (cursor, (paging.encode("tasks", (True, 1.0, "t")), "dGFza3M6W10")),
    "core/api/access.py:parse_policy": (in_file(".toml", policy_file.read_policy), POLICY),
    "runtime/settings.py:load": (in_file(".toml", lambda path: settings.load(config=path)), TOML),
    "runtime/settings.py:environment of cells": (in_environment("cells"), ("3",)),
    "runtime/settings.py:environment of broker_url": (in_environment("broker_url"), URLS),
    "runtime/settings.py:environment of cluster": (in_environment("cluster"), ("default", "a-b")),
    "runtime/settings_sources.py:_line_of": (in_file(".toml", lambda path: settings.load(config=path)), TOML),
    "runtime/toml_reader.py:parse_toml": (toml_reader.parse_toml, (*TOML, *POLICY)),
    "runtime/urls.py:check_url": (a_url, URLS),
    "runtime/urls.py:redact": (shown_url, URLS),
    "runtime/loopback.py:is_loopback": (loopback.is_loopback, ("127.0.0.1", "localhost", "[::1]", "example.org")),
    "runtime/failpoints.py:arm": (
        failpoint,
        ("agent.before-checkpoint=kill@2,term.before-commit=stop", "term.before-commit=kill"),
    ),
    "web/address.py:checked_host": (address.checked_host, ("127.0.0.1", "::1", "[::1]", "0.0.0.0", "localhost")),
    "web/guard.py:_name": (guard._name, ("127.0.0.1:5050", "[::1]:80", "localhost")),
    "web/app.py:parse_request": (lambda text: parse_request(text.encode("utf-8", "surrogatepass")), REQUESTS),
    "store/keys.py:check_cluster": (keys.check_cluster, ("default", "a.b-c")),
    "bus/topology.py:_value": (lambda text: topology._value(text), ("7d", "1000", "x")),
    "client/durations.py:seconds_of": (lambda text: bounded(durations.seconds_of(text)), TIMES),
    "client/locality.py:preference": (lambda text: locality.preference("rack==r1", (), text), TIMES),
    "client/names.py:check_name": (names.check_name, ("train", "a b")),
    "client/names.py:name_of": (lambda text: names.name_of(text, True), ("./work --x", "a\nb")),
    "client/spec.py:exit_codes": (spec.exit_codes, ("75,137", "1")),
    "client/spec.py:megabytes": (lambda text: spec.megabytes("mem", text), ("512", "2G", "1.5T", "100K")),
    "client/spec.py:amount": (lambda text: spec.amount("cpus", text), ("0.5", "1e-05", "2")),
    "client/spec.py:build_spec": (
        in_turn(
            spec.build_spec,
            *map(
                option_of_a_job,
                (
                    "name",
                    "cpus",
                    "mem",
                    "disk",
                    "gpus",
                    "resources",
                    "time_limit",
                    "array",
                    "stdout",
                    "stderr",
                    "chdir",
                ),
            ),
            *map(option_of_a_job, ("constraints", "prefer", "role", "retry_on", "after")),
        ),
        ("1", "50", "out/%j", "rack==r1", "any:j1", "eng/db", "2G", "5m"),
    ),
    "cli/options.py:seconds": (lambda text: bounded(options.seconds(text, "--x")), TIMES),
    "cli/options.py:environment": (lambda text: spec.environment(options.environment([text])), ("A=b", "A.b=")),
    "cli/roles.py:_weight": (roles._weight, ("2", "0.5", "1e6")),
    "cli/maintenance.py:moment": (
        lambda text: maintenance.moment(text, 0.0),
        ("+10m", "2031-05-04T22:00", "2031-05-04"),
    ),
    "cli/job_filters.py:filter_of": (
        in_turn(
            lambda text: job_filters.filter_of([text], None, None, None),
            lambda text: job_filters.filter_of(None, text, text, None),
            lambda text: job_filters.filter_of(None, None, None, text),
            lambda text: job_filters.filter_of(None, None, None, None, text, text),
        ),
        ("failed", "2031-05-04T22:00", "2h", "eng/db"),
    ),
    "cli/yaml_reader.py:read_yaml": (in_file(".yaml", jobfile.read), JOB_FILE),
    "cli/jobfile.py:read_table": (in_file(".yaml", jobfile.read_table), JOB_FILE),
    "containerizer/gpu_devices.py:parse_gpus": (gpu_devices.parse_gpus, ("0=/dev/nvidia0 GPU-1a2b=/dev/nvidia1",)),
    "agent/probe.py:names": (probe.names, RESOURCES),
    "agent/probe.py:find_resources": (lambda text: probe.find_resources(Path("/tmp"), text), RESOURCES),
    "simulated/durations.py:durations": (run_time, ("30s", "exp:30s", "uniform:10s..50s", "500ms")),
    "frameworks/batch/storage/records.py:parse_task_id": (records.parse_task_id, ("job.0.1", "a.b.3.4-1")),
    "master/undecodable.py:version": (undecodable.version, ("1.10.2", "1.x")),
    "master/dead_letters.py:_number": (dead_letters._number, ("3", "1.5e3")),
}
"""Parsers by module and function, each with texts that it understands."""

ELSEWHERE = {
    "core/model/resources.py:_parse": "by Resources.parse",
    "core/model/attributes.py:_parse": "by Constraint.parse",
    "core/model/bounded_regex.py:fullmatch": "by compile_pattern",
    "core/model/task.py:_stdin": "by decode_stdin",
    "runtime/failpoints.py:_action": "by arm",
    "runtime/urls.py:_url_problem": "by check_url",
    "runtime/urls.py:passwords": "by redact",
    "runtime/urls.py:endpoint": "by check_url",
    "runtime/urls.py:plaintext_problem": "by check_url",
    "runtime/urls.py:tls_option_problem": "by check_url",
    "client/spec.py:_is_plain": "by megabytes",
    "client/spec.py:max_output": "by megabytes",
    "client/spec.py:_shifted": "by megabytes",
    "client/spec.py:time_limit": "by seconds_of",
    "client/spec.py:parse_array": "by job_array.parse_array",
    "frameworks/batch/storage/records.py:parse": "reads what the framework has stored itself",
    "frameworks/batch/storage/records.py:parse_claim_field": "reads what the framework has stored itself",
    "frameworks/batch/storage/records.py:_number": "by parse_task_id",
    "master/config_store.py:_parsed": "reads what a master has stored itself",
    "containerizer/images/host_shell.py:parse_libraries": "reads what ldd lists on the machine",
    "core/model/part.py:is_ident": "matches a pattern",
    "client/http.py:__init__": "parses no text",
    "cli/roles.py:_read": "by jobfile.read_table",
    "cli/jobfile.py:read": "by read_yaml",
    "cli/jobfile.py:_parse": "by read_yaml",
}
"""Functions that look like parsers and need no fuzzing of their own, with the reason."""


SLOW = {"cli/yaml_reader.py:read_yaml", "cli/jobfile.py:read_table"}
"""Parsers that take tenths of a second for the longest texts: YAML is read in Python."""


@pytest.mark.parametrize("name", PARSERS)
def test_a_text_is_understood_or_refused_in_one_line(name: str) -> None:
    parse, valid = PARSERS[name]

    @fuzz(3 if name in SLOW else 12)
    @given(texts(*(valid if any(valid) else ("x",))))
    def run(text: str) -> None:
        count()
        note(repr(text[:500]))
        try:
            parse(text)
        except (BrokerMesosError, urls_error) as error:
            check_line(error)

    # Only these functions raise ValueError for a wrong text: their callers name the setting.
    of_settings = ("runtime/urls.py:check_url", "core/model/host_path.py:parse_host_path")
    urls_error: Any = ValueError if name in of_settings else InvalidInput
    run()


@pytest.mark.parametrize("name", PARSERS)
def test_the_texts_that_fuzzing_begins_with_are_understood(name: str) -> None:
    """Else nothing but refusals would be tried: at least one of them must be."""
    parse, valid = PARSERS[name]
    refused = 0
    for text in valid:
        try:
            parse(text)
        except (BrokerMesosError, ValueError):
            refused += 1
    assert refused < len(valid) or name == "core/api/access.py:authenticate"


def parsers() -> set[str]:
    """Functions of the package that parse a text, by their names and parameters."""
    root = Path(broker_mesos.__file__).parent
    found = set()
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            given = [each for each in node.args.args if each.arg not in ("self", "cls")]
            if not given or given[0].annotation is None or "str" not in ast.unparse(given[0].annotation):
                continue
            refuses = "Raises Invalid" in (ast.get_docstring(node) or "") and given[0].arg in ("text", "host", "codes")
            if re.match(r"_?parse(_|d?$)", node.name) or refuses or (given[0].arg == "text" and node.name == "read"):
                found.add(f"{path.relative_to(root)}:{node.name}")
    return found


def test_every_parser_of_text_is_fuzzed() -> None:
    assert parsers() - set(PARSERS) - set(ELSEWHERE) == set()


def test_parsers_that_are_named_here_exist() -> None:
    root = Path(broker_mesos.__file__).parent
    for name in (*PARSERS, *ELSEWHERE):
        path, _, function = name.partition(":")
        if not function.startswith("environment of"):
            assert f"def {function}(" in (root / path).read_text(), name
