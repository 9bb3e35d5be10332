"""What is free on each node, and where a job fits. Exact in every dimension, and fast on a thousand nodes.

For each kind of need that is asked for, the nodes are kept in buckets by how many such ranks they can take. A
bucket is an integer with one bit for each node, in the order of their ids, so that the fullest node that still
holds a gang, or the emptiest of all, is found by bit operations. A need's buckets catch up with what was taken
since they were last asked: a change costs nothing to the needs that nobody asks for again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from core.placement.values import Need, NodeRoom

#: (index of the node in the order of ids, ranks there)
Hosts = list[tuple[int, int]]


class Room:
    """Free room of a pool's nodes. `empty` starts from what they have when nothing runs."""

    def __init__(self, nodes: Iterable[NodeRoom], *, has_gpus: bool, empty: bool = False) -> None:
        self.nodes: Sequence[NodeRoom] = sorted(nodes, key=lambda node: node.id)
        self.index: Mapping[int, int] = {node.id: i for i, node in enumerate(self.nodes)}
        self.has_gpus = has_gpus
        self.slots = [max(0, node.slots if empty else node.free) for node in self.nodes]
        self.cpu = [max(0, node.cpu_milli if empty else node.cpu_free) for node in self.nodes]
        self.memory = [max(0, node.memory_bytes if empty else node.memory_free) for node in self.nodes]
        self.gpus = [max(0, node.gpus if empty else node.gpus_free) for node in self.nodes]
        self._labelled: dict[tuple[tuple[str, str], ...], int] = {}
        self._forget_needs()

    def _forget_needs(self) -> None:
        self._changes: list[int] = []
        self._of_need: dict[Need, _Buckets] = {}

    def copy(self) -> Room:
        """The same room, to be used up on its own."""
        other = Room.__new__(Room)
        other.nodes, other.index, other.has_gpus = self.nodes, self.index, self.has_gpus
        other.slots, other.cpu = self.slots.copy(), self.cpu.copy()
        other.memory, other.gpus = self.memory.copy(), self.gpus.copy()
        other._labelled = self._labelled
        other._forget_needs()
        return other

    def clear(self) -> None:
        """Leave nothing free."""
        self.slots = [0] * len(self.nodes)
        self._forget_needs()

    def set_least(self, node: int, one: Room, other: Room) -> None:
        """Make a node's room here what is free on it in both of two rooms."""
        self.slots[node] = min(one.slots[node], other.slots[node])
        self.cpu[node] = min(one.cpu[node], other.cpu[node])
        self.memory[node] = min(one.memory[node], other.memory[node])
        self.gpus[node] = min(one.gpus[node], other.gpus[node])
        self._changes.append(node)

    def change(self, node: int, need: Need, ranks: int) -> None:
        """Take room for so many ranks of a node; fewer than none gives it back."""
        facts = self.nodes[node]
        self.slots[node] -= ranks
        self.cpu[node] -= ranks * (facts.cpu_share if need.cpu_milli is None else need.cpu_milli)
        self.memory[node] -= ranks * (facts.memory_share if need.memory_bytes is None else need.memory_bytes)
        self.gpus[node] -= ranks if self.has_gpus else 0
        self._changes.append(node)

    def take(self, hosts: Hosts, need: Need) -> None:
        """Take what a job needs on each of its hosts."""
        for node, ranks in hosts:
            self.change(node, need, ranks)

    def capacity(self, node: int, need: Need) -> int:
        """How many ranks of this need the node can take now."""
        facts = self.nodes[node]
        ranks = self.slots[node]
        cpu = facts.cpu_share if need.cpu_milli is None else need.cpu_milli
        if cpu:
            ranks = min(ranks, self.cpu[node] // cpu)
        memory = facts.memory_share if need.memory_bytes is None else need.memory_bytes
        if memory:
            ranks = min(ranks, self.memory[node] // memory)
        if self.has_gpus:
            ranks = min(ranks, self.gpus[node])
        return max(ranks, 0)

    def eligible(self, labels: tuple[tuple[str, str], ...], avoided: Collection[int] = ()) -> int:
        """The nodes that have all these labels and are not avoided, as bits."""
        bits = self._labelled.get(labels)
        if bits is None:
            bits = 0
            for i, node in enumerate(self.nodes):
                if all(node.labels.get(key) == value for key, value in labels):
                    bits |= 1 << i
            self._labelled[labels] = bits
        for node_id in avoided:
            if node_id in self.index:
                bits &= ~(1 << self.index[node_id])
        return bits

    def fit(self, num_ranks: int, need: Need, eligible: int, *, may_span: bool) -> Hosts | None:
        """Where a job's ranks go, or None where they do not all fit.

        A single rank goes to the emptiest node, on GPUs to the fullest. A gang goes to the fullest node that
        holds it all; else, if it may span nodes, to as few as can be, and its rest to the fullest that holds it.
        """
        buckets = self._buckets(need)
        if num_ranks == 1 and not self.has_gpus:
            node = buckets.emptiest(eligible)
        else:
            node = buckets.fullest(num_ranks, eligible)
        if node is not None:
            return [(node, num_ranks)]
        if num_ranks == 1 or not may_span or buckets.total(eligible) < num_ranks:
            return None
        return buckets.fewest(num_ranks, eligible)

    def total(self, need: Need, eligible: int) -> int:
        """How many ranks of this need all these nodes can take together."""
        return self._buckets(need).total(eligible)

    def largest(self, need: Need, eligible: int) -> int:
        """How many ranks of this need the one node can take that can take most."""
        return self._buckets(need).largest(eligible)

    def _buckets(self, need: Need) -> _Buckets:
        buckets = self._of_need.get(need)
        if buckets is None:
            buckets = self._of_need[need] = _Buckets([self.capacity(i, need) for i in range(len(self.nodes))])
            buckets.seen = len(self._changes)
        elif buckets.seen < len(self._changes):
            # Long behind, it is looked at anew: never dearer than one look at each node.
            behind = self._changes[buckets.seen :]
            for node in set(behind) if len(behind) < len(self.nodes) else range(len(self.nodes)):
                buckets.move(node, self.capacity(node, need))
            buckets.seen = len(self._changes)
        return buckets


class _Buckets:
    """The nodes by how many ranks of one need each can take."""

    def __init__(self, capacities: list[int]) -> None:
        self.seen = 0
        self._capacity = capacities
        self._nodes: dict[int, int] = {}
        #: one bit for each capacity that some node has
        self._levels = 0
        for node, capacity in enumerate(capacities):
            self._nodes[capacity] = self._nodes.get(capacity, 0) | 1 << node
            self._levels |= 1 << capacity

    def move(self, node: int, capacity: int) -> None:
        """Note how many ranks the node can take now."""
        before = self._capacity[node]
        if capacity == before:
            return
        bit = 1 << node
        self._nodes[before] ^= bit
        if not self._nodes[before]:
            self._levels ^= 1 << before
        self._nodes[capacity] = self._nodes.get(capacity, 0) | bit
        self._levels |= 1 << capacity
        self._capacity[node] = capacity

    def fullest(self, ranks: int, eligible: int) -> int | None:
        """The node with the least room of those that can take so many ranks."""
        levels = self._levels >> ranks << ranks
        while levels:
            level = levels & -levels
            nodes = self._nodes[level.bit_length() - 1] & eligible
            if nodes:
                return _first(nodes)
            levels ^= level
        return None

    def emptiest(self, eligible: int) -> int | None:
        """The node with the most room, if it has any."""
        levels = self._levels & ~1
        while levels:
            capacity = levels.bit_length() - 1
            nodes = self._nodes[capacity] & eligible
            if nodes:
                return _first(nodes)
            levels ^= 1 << capacity
        return None

    def largest(self, eligible: int) -> int:
        """The room of the node that has most."""
        node = self.emptiest(eligible)
        return 0 if node is None else self._capacity[node]

    def total(self, eligible: int) -> int:
        """The room of all these nodes."""
        total, levels = 0, self._levels & ~1
        while levels:
            capacity = levels.bit_length() - 1
            total += capacity * (self._nodes[capacity] & eligible).bit_count()
            levels ^= 1 << capacity
        return total

    def fewest(self, ranks: int, eligible: int) -> Hosts:
        """As few nodes as hold so many ranks, emptiest first; together these nodes have the room."""
        hosts: Hosts = []
        while ranks:
            node = self.fullest(ranks, eligible)
            if node is None:
                node = self.emptiest(eligible)
                if node is None:
                    raise ValueError("the nodes have less room than was said")
            taken = min(ranks, self._capacity[node])
            hosts.append((node, taken))
            ranks -= taken
            eligible &= ~(1 << node)
        return hosts


def _first(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
