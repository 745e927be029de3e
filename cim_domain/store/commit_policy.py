"""Which way commits should go: plain, side by side, or in groups. Pure; times are handed in.

Which is faster depends on the server, its disk and how many commits wait, and none of these stays
as it is. So one way is used, and every now and then the other is tried, and the two compared by the
time that each commit took while as many were under way as ever there are.
"""

from collections import deque
from enum import Enum
from statistics import median

from attrs import define, field

_FADE = 1 - 1 / 256
"""What is left of a peak after one more commit."""


class Mode(Enum):
    """How commits are sent."""

    PLAIN = "plain"
    GROUPED = "grouped"

    @property
    def other(self) -> "Mode":
        """The other one."""
        return Mode.GROUPED if self is Mode.PLAIN else Mode.PLAIN


@define(kw_only=True)
class Grouping:
    """The policy. Told when commits begin and end, it says how the next one should go.

    There is load once `depth` commits were under way at a time, and until for some hundred commits
    there were not; without load every commit goes out plain, and so does one that is alone.

    Under load commits are measured in epochs: the seconds that one took for each commit that was
    stored. One with pauses in it, so that fewer than half of `depth` commits were under way on
    average, says nothing. The median of `epochs` of them is compared, so that none decides alone.
    """

    depth: int = 16
    """With fewer under way, groups were not faster on any server."""
    epoch: int = 128
    """Commits in an epoch; more where more are under way."""
    epochs: int = 3
    """In a trial, after one that is not counted, in which the mode before runs out."""
    share: float = 0.02
    """How much of the time under load trials may take."""
    gain: float = 0.1
    """By how much groups must be cheaper. They make each of their commits wait for the others."""
    mode: Mode = Mode.PLAIN
    """The one in use under load, or on trial."""
    cost: dict[Mode, float] = field(factory=dict)
    """Seconds for each commit, as last measured."""

    _under_way: int = field(default=0, init=False)
    _peak: float = field(default=0.0, init=False)
    """How many were under way at most, but for what is long ago."""
    _seen: float = field(default=0.0, init=False)
    _began: float | None = field(default=None, init=False)
    _size: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)
    _waited: float = field(default=0.0, init=False)
    """Seconds that all commits together were under way since the epoch began."""
    _running_out: bool = field(default=False, init=False)
    _on_trial: bool = field(default=False, init=False)
    _idle: int = field(default=0, init=False)
    """Epochs of the trial that said nothing, one after another."""
    _recent: deque[float] = field(factory=deque, init=False)
    _spent: float = field(default=0.0, init=False)
    """Seconds under load since the last trial."""
    _pause: float = field(default=0.0, init=False)
    """Seconds under load until the next trial."""

    @property
    def faster(self) -> Mode:
        """The one that was faster last time; plain before that is known."""
        return self.mode.other if self._on_trial else self.mode

    @property
    def under_way(self) -> int:
        """How many commits have begun and not ended."""
        return self._under_way

    def begun(self, now: float) -> Mode:
        """A commit begins at `now`, in seconds of any clock: how it should go."""
        self._wait_until(now)
        self._under_way += 1
        # When a group ends, hardly any are under way, so that the number at hand is no measure.
        self._peak = max(self._under_way, self._peak * _FADE)
        return self.mode if self._under_way > 1 and self._peak >= self.depth else Mode.PLAIN

    def ended(self, now: float, number: int = 1, *, stored: bool = True) -> None:
        """So many commits have ended at `now`, together, and were stored or were not."""
        self._wait_until(now)
        under_way = self._under_way
        self._under_way -= number
        if self._began is None:
            self._begin_epoch(now, under_way)
        elif stored:
            self._done += number
            if self._done >= self._size:
                self._end_epoch(now - self._began)
                self._begin_epoch(now, under_way)

    def interrupted(self) -> None:
        """The server was away: what is being measured says nothing."""
        self._began = None

    def _wait_until(self, now: float) -> None:
        self._waited += self._under_way * (now - self._seen)
        self._seen = now

    def _begin_epoch(self, now: float, under_way: int) -> None:
        self._began = now
        # By then all have ended that were sent in the mode before.
        self._size = max(self.epoch, under_way)
        self._done = 0
        self._waited = 0.0

    def _end_epoch(self, seconds: float) -> None:
        busy = self._waited >= seconds * self.depth / 2
        if seconds <= 0 or self._peak < self.depth or not busy:
            self._say_nothing()
            return
        self._idle = 0
        self._spent += seconds
        if self._running_out:
            self._running_out = False
            return
        self._recent.append(seconds / self._done)
        if len(self._recent) < self.epochs:
            return
        self.cost[self.mode] = median(self._recent)
        if self._on_trial:
            self._decide()
        elif self._spent >= self._pause:
            self._switch(self.mode.other, on_trial=True)
        else:
            self._recent.popleft()

    def _say_nothing(self) -> None:
        if self._on_trial:
            self._idle += 1
            if self._idle == self.epochs:
                # The load is gone; what is known of the other one is older than it may be.
                self._switch(self.mode.other, on_trial=False)

    def _decide(self) -> None:
        grouped = self.cost[Mode.GROUPED] < self.cost[Mode.PLAIN] * (1 - self.gain)
        # Not what the trial took: a pause of the server in it would have come anyway.
        trial = (self.epochs + 1) * self._size * self.cost[self.mode]
        self._pause = trial / self.share
        self._switch(Mode.GROUPED if grouped else Mode.PLAIN, on_trial=False)

    def _switch(self, mode: Mode, *, on_trial: bool) -> None:
        self._running_out = mode is not self.mode
        self.mode = mode
        self._on_trial = on_trial
        self._idle = 0
        self._recent.clear()
        self._spent = 0.0
