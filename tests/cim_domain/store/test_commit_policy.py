"""The policy of group commit, on a simulated server: it finds the faster way and stays there."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain.store.commit_policy import Grouping, Mode

SIDE_BY_SIDE = 2


@frozen
class Costs:
    """Seconds of a server that does one thing at a time: a plain commit, a batch, each in it."""

    plain: float
    batch: float = 0.004
    each: float = 0.000_02


FAST_DISK = Costs(plain=0.000_06)
SLOW_DISK = Costs(plain=0.001)


@define
class Simulation:
    """Clients that each send their next commit some time after the one before has ended."""

    policy: Grouping
    costs: Callable[[float], Costs]
    clients: int = 64
    think: float = 0.0001
    noise: Callable[[], float] = lambda: 1.0
    now: float = 0.0
    sent: Counter[Mode] = field(factory=Counter)
    seconds: dict[Mode, float] = field(factory=lambda: dict.fromkeys(Mode, 0.0))
    """How long the policy was in each mode."""
    changes: list[tuple[float, Mode]] = field(factory=list)
    """When the policy went over to which mode."""
    _free: float = 0.0
    _groups: int = 0
    _waiting: int = 0
    _agenda: list[tuple[float, int, str, int]] = field(factory=list)
    _ties: Any = field(factory=count)

    def run(self, commits: int) -> "Simulation":
        """Until so many more were sent and all have ended."""
        end = sum(self.sent.values()) + commits
        for _ in range(self.clients):
            self._later(self.now, "begins", 1)
        while self._agenda:
            at, _, what, clients = heapq.heappop(self._agenda)
            self.seconds[self.policy.mode] += at - self.now
            self.now = at
            if what == "begins":
                if sum(self.sent.values()) < end:
                    self._begin()
            elif what == "groups":
                self._start_group()
            else:
                self._end(what, clients)
            if not self.changes or self.changes[-1][1] is not self.policy.mode:
                self.changes.append((at, self.policy.mode))
        return self

    def share(self, mode: Mode) -> float:
        return self.seconds[mode] / sum(self.seconds.values())

    def _begin(self) -> None:
        mode = self.policy.begun(self.now)
        self.sent[mode] += 1
        if mode is Mode.PLAIN:
            self._serve(self.costs(self.now).plain, "plain", 1)
        else:
            self._waiting += 1
            self._later(self.now, "groups", 1)

    def _start_group(self) -> None:
        """With all that were handed in at this time."""
        if self._waiting and self._groups < SIDE_BY_SIDE:
            self._groups += 1
            group, self._waiting = self._waiting, 0
            costs = self.costs(self.now)
            self._serve(costs.batch + costs.each * group, "group", group)

    def _serve(self, seconds: float, what: str, clients: int) -> None:
        self._free = max(self.now, self._free) + seconds * self.noise()
        self._later(self._free, what, clients)

    def _end(self, what: str, clients: int) -> None:
        self.policy.ended(self.now, clients)
        if what == "group":
            self._groups -= 1
            self._later(self.now, "groups", 1)
        for _ in range(clients):
            self._later(self.now + self.think * self.noise(), "begins", 1)

    def _later(self, at: float, what: str, clients: int) -> None:
        heapq.heappush(self._agenda, (at, next(self._ties), what, clients))


Noise = Callable[[random.Random], float]

NOISES: Sequence[Noise] = (
    lambda chance: chance.uniform(0.5, 1.5),
    lambda chance: chance.expovariate(1),
    # The disk is busy with something else for a while, again and again.
    lambda chance: 100.0 if chance.random() < 0.003 else 1.0,
)


def simulate(costs: Costs, commits: int = 40_000, **settings: Any) -> Simulation:
    return Simulation(Grouping(), lambda _: costs, **settings).run(commits)


def faster_in(simulated: Simulation) -> Mode:
    return simulated.policy.faster


# Finding the faster way


@pytest.mark.parametrize("clients", [20, 64])
def test_where_plain_is_cheaper_it_stays_plain(clients: int) -> None:
    simulated = simulate(FAST_DISK, clients=clients)
    assert simulated.policy.faster is Mode.PLAIN
    assert len(simulated.changes) == 3, "one trial at the start, which has not paid"


@pytest.mark.parametrize("clients", [20, 64, 256, 1000])
def test_where_groups_are_cheaper_it_goes_over_to_them_after_four_epochs(clients: int) -> None:
    simulated = simulate(SLOW_DISK, clients=clients)
    assert simulated.policy.faster is Mode.GROUPED
    epochs = 4 * max(128, clients) * SLOW_DISK.plain
    assert simulated.changes[1][0] < 1.2 * epochs


def test_it_measures_what_a_commit_costs() -> None:
    cost = simulate(SLOW_DISK, think=0.0).policy.cost
    assert cost[Mode.PLAIN] == pytest.approx(SLOW_DISK.plain, rel=0.01)
    # The clients fall into three parts: two ride in groups, one waits.
    assert cost[Mode.GROUPED] == pytest.approx(SLOW_DISK.batch * 3 / 64 + SLOW_DISK.each, rel=0.01)


@given(st.integers(0, 2**32), st.sampled_from(NOISES), st.sampled_from([FAST_DISK, SLOW_DISK]))
@settings(max_examples=15, deadline=None)
def test_it_finds_the_faster_way_however_noisy_the_server_is(
    seed: int, noise: Noise, costs: Costs
) -> None:
    chance = random.Random(seed)
    simulated = simulate(costs, noise=lambda: noise(chance))
    better = Mode.PLAIN if costs is FAST_DISK else Mode.GROUPED
    # Once in a while a trial is unlucky; then the next one puts it right.
    assert simulated.seconds[better] > 0.5 * simulated.now


def test_a_pause_of_the_server_changes_nothing() -> None:
    pauses = iter([1.0] * 20_000 + [1.0 / FAST_DISK.plain])
    simulated = simulate(FAST_DISK, noise=lambda: next(pauses, 1.0))
    assert [mode for _, mode in simulated.changes] == [Mode.PLAIN, Mode.GROUPED, Mode.PLAIN]


@pytest.mark.parametrize("commits", range(100, 1200, 100))
def test_a_pause_while_it_decides_does_not_decide(commits: int) -> None:
    pauses = iter([1.0] * commits + [1.0 / SLOW_DISK.plain])
    simulated = simulate(SLOW_DISK, commits=4000, noise=lambda: next(pauses, 1.0))
    assert simulated.policy.faster is Mode.GROUPED


def test_it_follows_when_the_costs_change() -> None:
    at = 20.0
    simulated = Simulation(Grouping(), lambda now: FAST_DISK if now < at else SLOW_DISK)
    while simulated.now < at:
        assert faster_in(simulated) is Mode.PLAIN
        simulated.run(10_000)
    simulated.run(30_000)
    assert faster_in(simulated) is Mode.GROUPED
    # Within the time in which the next trial is due.
    assert simulated.changes[-1][0] < at + 0.15 / 0.02

    back = simulated.now
    simulated.costs = lambda _: FAST_DISK
    while faster_in(simulated) is Mode.GROUPED:
        simulated.run(10_000)
    assert simulated.now < back + 0.6 / 0.02


@pytest.mark.parametrize(("costs", "clients"), [(FAST_DISK, 32), (FAST_DISK, 300), (SLOW_DISK, 32)])
def test_trials_take_less_than_3_per_cent_of_the_time(costs: Costs, clients: int) -> None:
    simulated = simulate(costs, clients=clients, commits=20_000)
    best = simulated.policy.faster
    before = dict(simulated.seconds)
    changes = len(simulated.changes)
    while len(simulated.changes) < changes + 8:
        simulated.run(20_000)
    spent = {mode: simulated.seconds[mode] - before[mode] for mode in Mode}
    assert 0 < spent[best.other] < 0.03 * sum(spent.values())


# Little load


@given(st.integers(1, 15), st.floats(1e-6, 0.1), st.floats(1e-6, 0.1))
@settings(max_examples=30, deadline=None)
def test_with_few_under_way_every_commit_goes_out_plain(
    clients: int, plain: float, batch: float
) -> None:
    simulated = simulate(Costs(plain, batch), clients=clients, commits=3000)
    assert set(simulated.sent) == {Mode.PLAIN}


def test_many_clients_that_send_little_are_little_load() -> None:
    simulated = simulate(FAST_DISK, clients=500, think=1.0, commits=20_000)
    assert simulated.sent[Mode.GROUPED] < 200


@pytest.fixture
def in_groups() -> Grouping:
    """One that was under load and uses groups now; nothing is under way."""
    simulated = simulate(SLOW_DISK)
    while simulated.policy.mode is Mode.PLAIN:
        simulated.run(500)
    assert simulated.policy.under_way == 0
    return simulated.policy


def test_a_lone_commit_goes_out_plain_whatever_was_before(in_groups: Grouping) -> None:
    for later in range(10):
        assert in_groups.begun(1000.0 + later) is Mode.PLAIN
        in_groups.ended(1000.5 + later)


def test_after_a_group_has_ended_the_next_commits_go_in_groups_too(in_groups: Grouping) -> None:
    for _ in range(64):
        in_groups.begun(1000.0)
    in_groups.ended(1000.1, 60)
    assert in_groups.begun(1000.1) is Mode.GROUPED


def test_when_the_load_is_gone_commits_go_out_plain_again(in_groups: Grouping) -> None:
    quiet = Simulation(in_groups, lambda _: SLOW_DISK, clients=5, now=1000.0)
    quiet.run(500)
    quiet.sent.clear()
    quiet.run(3000)
    assert set(quiet.sent) == {Mode.PLAIN}


def test_a_trial_without_load_is_given_up() -> None:
    policy = simulate(FAST_DISK, commits=450).policy
    assert (policy.mode, policy.faster) == (Mode.GROUPED, Mode.PLAIN)
    for second in range(1000, 1030):
        for _ in range(20):
            policy.begun(second)
        policy.ended(second + 0.001, 20)
    assert policy.mode is Mode.PLAIN
    assert Mode.GROUPED not in policy.cost


def test_time_without_commits_is_no_cost() -> None:
    simulated = Simulation(Grouping(), lambda _: SLOW_DISK, think=0.0)
    for _ in range(60):
        simulated.run(700)
        simulated.now += 100.0
    assert simulated.policy.faster is Mode.GROUPED
    assert simulated.policy.cost[Mode.PLAIN] == pytest.approx(SLOW_DISK.plain, rel=0.05)


def test_what_was_measured_while_the_server_was_away_is_left_out() -> None:
    policy = Grouping(depth=1, epoch=10, epochs=1)

    def end(now: float, *, stored: bool = True) -> None:
        policy.begun(now)
        policy.ended(now, stored=stored)

    for _ in range(5):
        policy.begun(0.0)
    for tenth in range(9):
        end(tenth / 10)
    policy.interrupted()
    end(30.0, stored=False)
    assert policy.cost == {}
    for tenth in range(10):
        end(30.1 + tenth / 10)
    assert policy.cost == {Mode.PLAIN: pytest.approx(0.1)}


# Whatever happens


steps = st.lists(
    st.tuples(
        st.sampled_from(["begun", "begun", "begun", "ended", "failed", "interrupted"]),
        st.integers(1, 40),
        st.floats(0.0, 1.0),
    ),
    max_size=300,
)


@given(steps, st.integers(1, 20), st.integers(1, 30), st.integers(1, 3))
@settings(deadline=None)
def test_it_counts_right_and_groups_only_what_is_under_load(
    told: Sequence[tuple[str, int, float]], depth: int, epoch: int, epochs: int
) -> None:
    policy = Grouping(depth=depth, epoch=epoch, epochs=epochs)
    now, under_way, most = 0.0, 0, 0
    for what, number, later in told:
        now += later
        if what == "begun":
            for _ in range(number):
                under_way += 1
                most = max(most, under_way)
                mode = policy.begun(now)
                assert mode is Mode.PLAIN or (under_way > 1 and most >= depth)
        elif what == "interrupted":
            policy.interrupted()
        elif under_way:
            together = min(number, under_way)
            policy.ended(now, together, stored=what == "ended")
            under_way -= together
        assert policy.under_way == under_way
        assert all(cost > 0 for cost in policy.cost.values())
