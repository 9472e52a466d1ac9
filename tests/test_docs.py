"""The docs say what the code does: generated tables, names of keys, links, commands."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from broker_mesos.core.api.access import ACTIONS
from broker_mesos.core.protocol.addresses import Exchange, QueueKind
from broker_mesos.core.protocol.wire import REGISTRY
from broker_mesos.frameworks.batch.storage import records
from broker_mesos.store import keys

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_" + name.replace("/", "_"), DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


GENERATOR = load_script("generate")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GENERATOR.PARTS)
def test_generated_tables_are_what_the_code_says(name: str):
    assert page(name) == GENERATOR.filled(name), "run: python docs/generate.py"


def test_every_message_type_is_listed():
    text = page("reference/messages.md")
    ours = [kind for kind in REGISTRY.values() if kind.__module__.startswith("broker_mesos.")]
    assert len(ours) > 40
    assert [kind.TYPE for kind in ours if f"| `{kind.TYPE}` |" not in text] == []


def test_every_exchange_and_kind_of_queue_is_listed():
    text = page("reference/queues.md")
    assert [kind for kind in QueueKind if f"| {kind.value} |" not in text] == []
    named = [f"bmesos.{exchange.value}" for exchange in Exchange]
    assert [name for name in named if text.count(f"| `{name}` |") != 2] == []


def test_every_key_is_listed():
    text = page("reference/redis-keys.md")
    cell = [f"bmesos:{{<cluster>.<cell>}}:{name}" for name in keys.CellKeys._fields]
    whole = [make("x").replace("{x}", "{<cluster>}") for make in (keys.cells, keys.masters, keys.usage)]
    batch = ["specs", "jobs", "work", "pending", "roles", "claims", "unsettled", "active", "order", "ended", "meta"]
    batch += [make("<job>") for make in (records.results_key, records.failures_key, records.counts_key)]
    batch.append(records.pending_key("<role>"))
    assert [name for name in [*cell, *whole, *batch] if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (path.parent / target).exists()] == []


def test_decisions_are_short_and_of_one_form():
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in pages] == list(range(1, len(pages) + 1))
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40, path.name
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, (path.name, part)


FIGURES = load_script("figures/allocation")


@pytest.mark.parametrize("name", FIGURES.pictures())
def test_drawn_pictures_are_what_the_policies_do(name: str):
    drawn = FIGURES.pictures()[name]
    assert page(f"images/{name}") == drawn, "run: python docs/figures/allocation.py"
    assert f"images/{name}" in page("allocation.md")


@pytest.mark.parametrize("path", sorted((DOCS / "images").glob("*.svg")), ids=lambda path: path.stem)
def test_pictures_are_pictures(path: Path):
    root = ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg")
    assert any(node.tag.endswith("title") for node in root)


def test_the_readme_shows_both_commands_on_its_first_screen():
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:25])
    assert "make demo" in first and "make test" in first and "architecture.svg" in first


def test_every_module_is_listed_and_no_other_one():
    package = ROOT / "broker_mesos"
    listed, folder = set(), ""
    for line in page("modules.md").splitlines():
        if found := re.match(r"## `(?:broker_mesos/)?([a-z_/]*)`", line):
            folder = found[1]
        elif found := re.match(r"\| `([a-z_]+\.(?:py|lua))` \| \S", line):
            listed.add(folder + found[1])
    files = [*package.rglob("*.py"), *package.rglob("*.lua")]
    assert listed == {str(each.relative_to(package)) for each in files if each.name != "__init__.py"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('"""Reads jobs. Also names them."""', "Reads jobs."),
        ('"""Sandboxes: ``<dir>/x/``,\none folder each.\n\nMore.\n"""', "Sandboxes: `<dir>/x/`, one folder each."),
        ('"""Parses ``a.b.c``, e.g. names."""', "Parses `a.b.c`, e.g. names."),
    ],
)
def test_the_purpose_of_a_module_is_the_first_sentence_of_its_docstring(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "module.py").write_text(text, encoding="utf-8")
    assert GENERATOR.purpose(tmp_path / "module.py") == sentence


@pytest.mark.parametrize("text", ["", '"""no end"""', "x = 1"])
def test_a_module_whose_docstring_has_no_sentence_is_refused(tmp_path: Path, text: str):
    (tmp_path / "module.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="begin its docstring with a sentence"):
        GENERATOR.purpose(tmp_path / "module.py")


def named_paths() -> set[str]:
    """Folders and files that the page of the architecture names, relative to the package."""
    text = page("architecture.md")
    section = text[text.index("## Where things are") :]
    return set(re.findall(r"`([a-z_/]+/|[a-z_/]+\.(?:py|lua))`", section)) - {"broker_mesos/"}


def test_the_architecture_names_every_folder_of_the_package():
    package = ROOT / "broker_mesos"
    folders = {f"{path.parent.relative_to(package)}/" for path in package.rglob("__init__.py")} - {"./"}
    assert folders - named_paths() == set()


def test_what_the_architecture_names_is_there():
    assert sorted(each for each in named_paths() if not (ROOT / "broker_mesos" / each).exists()) == []


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), section.splitlines())
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip("| ") for cell in line.split(" | ")] for line in table][2:]


def test_each_threat_names_the_tests_that_show_what_stops_it():
    threats = rows(page("security.md"), "What stops whom")
    assert len(threats) > 30
    for who, could, stopped_by, shown_by in threats:
        assert who and could and stopped_by
        files = re.findall(r"`(tests/[a-z_/]+/test_[a-z_]+\.py)`", shown_by)
        assert files and ", ".join(f"`{each}`" for each in files) == shown_by, could
        assert [each for each in files if "def test_" not in (ROOT / each).read_text(encoding="utf-8")] == [], could


def test_every_action_of_a_principal_is_listed():
    listed = [
        name for action, _ in rows(page("security.md"), "Principals") for name in re.findall(r"`([a-z:]+)`", action)
    ]
    assert sorted(listed) == sorted(ACTIONS)
