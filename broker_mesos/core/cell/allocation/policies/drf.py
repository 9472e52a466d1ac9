"""Dominant resource fairness: serve the role with the lowest weighted dominant share, and within it the
framework with the lowest one.

Ghodsi, Zaharia, Hindman, Konwinski, Shenker, Stoica: Dominant Resource Fairness: Fair Allocation of
Multiple Resource Types (NSDI 2011). As in Mesos, shares count what is offered as well as what is used, and
resources are divided a machine at a time. Roles are a tree, divided level by level: a node's share is of
all that its subtree holds, over the node's own weight. Frameworks directly in ``eng`` compete with
``eng/db`` as one virtual leaf ``eng/.`` of weight 1.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence

from broker_mesos.core.cell.allocation.policies.policy import Claimant, Shares
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import lineage

EMPTY = Resources()
Keyed = tuple[float, int, Claimant]
"""Sort key of a claimant: (dominant share, tie, claimant)."""
KeyedNode = tuple[float, int, str]
"""Sort key of a node: (weighted dominant share, tie of the first claimant in it, name)."""
VIRTUAL = "/."
"""Suffix of a role's name for its virtual leaf; no role has such a name."""


class Drf:
    """The policy ``drf``."""

    def rank(self, claimants: Sequence[Claimant], shares: Shares) -> DrfRanking:
        """See Policy."""
        return DrfRanking(claimants, shares)

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        """See Policy: no role is served completely before others."""
        return False


class Node:
    """A role with claimants in or below it: it has children, or it is a leaf and has members.

    Nodes refer to each other by name: there are many rounds, and reference cycles would have to be collected by the
    garbage collector.
    """

    __slots__ = ("children", "held", "key", "members", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.held: dict[str, int] = {}
        """Used and offered resources of the whole subtree, in thousandths by name."""
        self.children: list[KeyedNode] = []
        self.members: list[Keyed] = []
        self.key: KeyedNode
        """The sort key among its parent's children."""


class DrfRanking:
    """A tree of roles whose siblings are sorted by share; a charge moves those on one path."""

    def __init__(self, claimants: Sequence[Claimant], shares: Shares) -> None:
        held = shares.held
        total = _without(shares.total, shares.exclude)
        self._total = tuple(total.scalars.items())
        self._held: dict[Claimant, dict[str, int]] = {}
        """Resources of the claimants that were charged in this round, in thousandths by name."""
        self._before: dict[Claimant, Resources] = {}
        self._keyed: dict[Claimant, Keyed] = {}
        """Sort keys of the claimants among the members of their roles, without those that are done."""
        members: dict[str, list[Keyed]] = {}
        for claimant in claimants:
            resources = held.get((claimant.role, claimant.framework_id), EMPTY)
            self._before[claimant] = resources
            keyed = self._keyed[claimant] = resources.dominant_share(total), claimant.tie, claimant
            members.setdefault(claimant.role, []).append(keyed)
        self._root = Node(1.0)
        self._nodes: dict[str, Node] = {}
        inner = {name for role in members for name in lineage(role)[1:]}
        self._leaves = {role: role + VIRTUAL if role in inner else role for role in members}
        self._paths = {role: self._path(role) for role in members}
        self._count(shares, inner)
        self._sort(members, inner)

    def _count(self, shares: Shares, inner: set[str]) -> None:
        """Make all nodes. All resources of a role count, including those of frameworks without demand."""
        nodes = self._nodes
        for name in (*inner, *self._leaves.values()):
            nodes[name] = Node(shares.weights.get(name, 1.0))
        for role, sum_of_role in shares.held_by_role().items():
            for name in self._path(role):
                if (node := nodes.get(name)) is not None:
                    _add(node.held, sum_of_role)

    def _path(self, role: str) -> tuple[str, ...]:
        """The names of the nodes in which a charge to the role counts, from its leaf upwards."""
        path = lineage(role)
        leaf = self._leaves.get(role, role)
        return path if leaf == role else (leaf, *path)

    def _sort(self, members: Mapping[str, list[Keyed]], inner: set[str]) -> None:
        for role, name in self._leaves.items():
            node = self._nodes[name]
            node.members = members[role]
            node.members.sort()
            self._place(name, node, role if name != role else _parent(role))
        # Children before their parents, whose tie is that of the first child.
        for name in sorted(inner, key=len, reverse=True):
            node = self._nodes[name]
            node.children.sort()
            self._place(name, node, _parent(name))
        self._root.children.sort()

    def _place(self, name: str, node: Node, parent: str) -> None:
        self._rekey(name, node)
        (self._nodes[parent] if parent else self._root).children.append(node.key)

    def _rekey(self, name: str, node: Node) -> None:
        """Compute the sort key of a node after its resources or its first claimant have changed."""
        node.key = (self._share(node.held) / node.weight, self._tie(node), name)

    @staticmethod
    def _tie(node: Node) -> int:
        """The tie of the claimant that is first in a node."""
        return node.members[0][1] if node.members else node.children[0][1]

    def _share(self, amounts: Mapping[str, int]) -> float:
        """The dominant share of amounts in thousandths by name."""
        share = 0.0
        for name, whole in self._total:
            mine = amounts.get(name)
            if mine:
                part = mine / whole
                if part > share:
                    share = part
        return share

    def order(self) -> Iterable[Claimant]:
        """The claimants with the lowest share first, at every level of the tree."""
        nodes = self._nodes
        levels = [iter(self._root.children)]
        while levels:
            for _, _, name in levels[-1]:
                node = nodes[name]
                if node.children:
                    levels.append(iter(node.children))
                    break
                for _, _, claimant in node.members:
                    yield claimant
            else:
                levels.pop()

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """Move the claimant and its roles to the positions of their increased shares."""
        held = self._held.get(claimant)
        if held is None:
            held = self._held[claimant] = dict(self._before[claimant].scalars)
        _add(held, resources)
        path = self._paths[claimant.role]
        nodes = [self._nodes[name] for name in path]
        before = self._keyed.get(claimant)
        if before is not None:
            members = nodes[0].members
            del members[bisect_left(members, before)]
            after = self._keyed[claimant] = self._share(held), claimant.tie, claimant
            insort(members, after)
        for name, node, parent in zip(path, nodes, (*nodes[1:], self._root), strict=True):
            siblings = parent.children
            if len(siblings) == 1 and siblings[0] is node.key:
                # An only child stays first with any share; but the tie of its parent is that of its first claimant.
                tie = (node.members or node.children)[0][1]
                if tie != node.key[1]:
                    node.key = siblings[0] = (node.key[0], tie, name)
                continue
            _add(node.held, resources)
            if not node.members and not node.children:
                continue  # all claimants in it are done
            del siblings[bisect_left(siblings, node.key)]
            self._rekey(name, node)
            insort(siblings, node.key)

    def done(self, claimant: Claimant) -> None:
        """Remove a claimant that can be given nothing more in this round from the order; its resources still count."""
        before = self._keyed.pop(claimant, None)
        if before is None:
            return
        path = self._paths[claimant.role]
        nodes = [self._nodes[name] for name in path]
        members = nodes[0].members
        del members[bisect_left(members, before)]
        for name, node, parent in zip(path, nodes, (*nodes[1:], self._root), strict=True):
            siblings = parent.children
            place = bisect_left(siblings, node.key)
            if node.members or node.children:
                before_key = node.key
                self._rekey(name, node)
                if node.key == before_key:
                    return  # nothing changes for the nodes above
                del siblings[place]
                insort(siblings, node.key)
            else:
                del siblings[place]


def _add(amounts: dict[str, int], more: Resources) -> None:
    for name, amount in more.scalars.items():
        amounts[name] = amounts.get(name, 0) + amount


def _parent(role: str) -> str:
    """The nearest ancestor of a role; empty for a role of the first level."""
    return role.rpartition("/")[0]


def _without(total: Resources, exclude: frozenset[str]) -> Resources:
    """The total without excluded resources, of which shares are computed."""
    if not exclude:
        return total
    return Resources.summed({name: some for name, some in total.scalars.items() if name not in exclude})
