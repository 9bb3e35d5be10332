"""Room against a plain count of it: the same nodes, whatever was taken and given back before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.placement.room import Hosts, Room
from core.placement.values import Need, NodeRoom

NEEDS = (Need(), Need(1000, None), Need(3000, 2), Need(None, 3))


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    nodes = []
    for number in range(draw(st.integers(1, 6))):
        slots, cpus, memory = draw(st.integers(0, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
        nodes.append(
            NodeRoom(
                number,
                f"n{number}",
                slots,
                slots,
                cpu_milli=cpus * 1000,
                cpu_free=cpus * 1000,
                memory_bytes=memory,
                memory_free=memory,
                gpus=draw(st.integers(0, 4)),
                gpus_free=draw(st.integers(0, 4)),
                cpu_share=draw(st.integers(0, 1500)),
                memory_share=draw(st.integers(0, 2)),
            )
        )
    return Room(nodes, has_gpus=draw(st.booleans()))


def plain_fit(room: Room, ranks: int, need: Need, eligible: int, *, may_span: bool) -> Hosts | None:
    able = {
        node: room.capacity(node, need)
        for node in range(len(room.nodes))
        if eligible >> node & 1 and room.capacity(node, need)
    }
    alone = [node for node in able if able[node] >= ranks]
    if alone:
        sign = -1 if ranks == 1 and not room.has_gpus else 1
        return [(min(alone, key=lambda node: (sign * able[node], node)), ranks)]
    if ranks == 1 or not may_span or sum(able.values()) < ranks:
        return None
    hosts: Hosts = []
    while ranks:
        last = [node for node in able if able[node] >= ranks]
        node = min(last or able, key=lambda node: (able[node] if last else -able[node], node))
        hosts.append((node, min(ranks, able.pop(node))))
        ranks -= hosts[-1][1]
    return hosts


asked = st.tuples(st.sampled_from(NEEDS), st.integers(1, 20), st.integers(0, 63), st.booleans(), st.booleans())


@given(rooms(), st.lists(asked, max_size=12))
def test_fit_is_that_of_a_plain_count_after_any_changes(
    room: Room, questions: list[tuple[Need, int, int, bool, bool]]
) -> None:
    taken: list[tuple[Hosts, Need]] = []
    for need, ranks, eligible, may_span, gives_back in questions:
        hosts = room.fit(ranks, need, eligible, may_span=may_span)
        assert hosts == plain_fit(room, ranks, need, eligible, may_span=may_span)
        if hosts is not None:
            assert sum(count for _, count in hosts) == ranks
            room.take(hosts, need)
            taken.append((hosts, need))
        if gives_back and taken:
            ended, of_need = taken.pop(0)
            room.take([(node, -count) for node, count in ended], of_need)
        assert min(room.slots + room.cpu + room.memory) >= 0


@given(rooms(), st.integers(2, 30))
def test_fit_of_a_gang_uses_as_few_nodes_as_can_be(room: Room, ranks: int) -> None:
    every = (1 << len(room.nodes)) - 1
    hosts = room.fit(ranks, Need(), every, may_span=True)
    able = sorted((room.capacity(node, Need()) for node in range(len(room.nodes))), reverse=True)
    fewest = next((count for count in range(1, len(able) + 1) if sum(able[:count]) >= ranks), None)
    assert (None if hosts is None else len(hosts)) == fewest
