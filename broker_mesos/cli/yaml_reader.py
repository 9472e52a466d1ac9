"""Reads YAML strictly: numbers are decimal, a key occurs once, and values of environment variables stay as written."""

from __future__ import annotations

import re
from typing import Any

import yaml

from broker_mesos.client.names import shown
from broker_mesos.errors import InvalidInput

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_READ_BY_OTHER_RULES = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp", _TEXT)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice. Only decimal numbers are numbers: 0755 and 12:30:45 are text, where
    YAML 1.1 reads octal digits and a number of seconds."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise InvalidInput(f"line {line_of(key)}: {key.value!r} is given twice; keep one")
                seen.add((key.tag, key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_BY_OTHER_RULES]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_NUMBERS[0], re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _NUMBERS[1],
    re.compile(r"([-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|\.nan|[-+]?\.inf)\Z"),
    list("-+.0123456789"),
)


def line_of(node: yaml.Node) -> int:
    """The line on which a node begins, from 1."""
    number: int = node.start_mark.line + 1
    return number


def read_yaml(text: str) -> Any:
    """The value of a document. The values of its table ``env`` are text as it is written, quoted or not.

    Raises InvalidInput for a repeated key or a value of ``env`` that is no text, and ``yaml.YAMLError``.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if isinstance(root, yaml.MappingNode):
            for key, value in root.value:
                if isinstance(key, yaml.ScalarNode) and key.value == "env" and isinstance(value, yaml.MappingNode):
                    _keep_as_written(value)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _keep_as_written(env: yaml.MappingNode) -> None:
    """Makes text of every value. Nodes are replaced and not changed: an alias shares one with other places."""
    pairs = []
    for key, value in env.value:
        if key.tag == _MERGE:
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(each, yaml.MappingNode):
                    _keep_as_written(each)
            pairs.append((key, value))
            continue
        name = str(key.value)
        if not isinstance(value, yaml.ScalarNode) or value.tag not in _NUMBERS:
            what = shown(value.value) if isinstance(value, yaml.ScalarNode) else "a list or table"
            raise InvalidInput(f"line {line_of(value)}: env {name[:80]}: {what} is not text; put it in quotes")
        # A number as a name is left to the check of names, which then sees it as it is written.
        key = yaml.ScalarNode(_TEXT, name, key.start_mark, key.end_mark)
        pairs.append((key, yaml.ScalarNode(_TEXT, value.value, value.start_mark, value.end_mark)))
    env.value = pairs
