"""Chooses the columns of a table that fit into a terminal, and their widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GAP = 2
"""Blanks between two columns."""
MIN_TEXT_WIDTH = 12
"""Characters that a column of text keeps at least."""

_SHORTENED = frozenset({"NAME", "ATTRIBUTES", "HOST", "ROLES", "RESERVED FOR", "LABELS", "USER", "TYPE"})
"""Columns whose texts may lose their ends."""
_WRAPPED = frozenset(
    {
        "ACCEPTED",
        "DECLINED",
        "FOR",
        "FOUND",
        "GUARANTEE",
        "HOLDS",
        "LIMIT",
        "MESSAGE",
        "REASON",
        "RESOURCES",
        "SHORT OF",
        "TASKS",
        "UNANSWERED",
        "UNUSED",
        "WAITING",
        "WHAT",
        "WHAT STANDS IN THE WAY",
        "WHAT TO DO",
    }
)
"""Columns whose texts may go on in the next line."""


def shortened(name: str) -> bool:
    """Whether texts of this column are cut with an ellipsis rather than folded."""
    return name in _SHORTENED


def fit(
    names: Sequence[str], rows: Sequence[Sequence[str]], drop: Sequence[str] | None, width: int | None
) -> Mapping[int, int]:
    """The widths of the columns that are shown, by their positions.

    While ``width`` characters are too few, columns of text shrink to ``MIN_TEXT_WIDTH``; then columns are left
    out in the order of ``drop`` (None: from the right, down to the first one). Ids and numbers are shown whole or
    not at all; they are folded only if those that stay in any case have no room. None as ``width``: any will do.
    """
    from rich.cells import cell_len

    wanted = {at: max(cell_len(row[at]) for row in [names, *rows]) for at in range(len(names))}
    if width is None:
        return wanted
    least = {
        at: min(wanted[at], max(MIN_TEXT_WIDTH, len(names[at]))) if _is_text(names[at]) else wanted[at] for at in wanted
    }
    order = range(len(names) - 1, 0, -1) if drop is None else [names.index(name) for name in drop if name in names]
    for at in order:
        if _total(least) <= width:
            break
        del least[at]
    while _total(least) > width and max(least.values()) > 1:
        widest = max(least, key=lambda at: (least[at], at))
        least[widest] -= 1
    spare = max(0, width - _total(least))
    # What is left goes to the columns that want more, the modest ones first.
    hungry = sorted((wanted[at] - least[at], at) for at in least if wanted[at] > least[at])
    while hungry:
        share = spare // len(hungry)
        more, at = hungry.pop(0)
        given = min(more, share)
        least[at] += given
        spare -= given
    return least


def _is_text(name: str) -> bool:
    return name in _SHORTENED or name in _WRAPPED


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)
