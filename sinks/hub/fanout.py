"""Who is sent what, and when; pure.

A table holds the latest value of every symbol, and a set names those that changed. A flush takes
what is due: a symbol goes out at once, and then at most every 50 ms, the newest value each time.
Clients with the same encoding and the same symbols are one bucket, so that what they are sent is
put together once for all of them.

Nobody waits for a client. One that has not taken yet what it was sent before is not sent more: its
symbols are remembered, each once, and when it has drained it gets their latest values. One that
stays behind for too long is hopeless. All times are those of a clock that only counts: one that is
set back would silence every symbol until it is where it was.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

NS: Final = 1_000_000_000

#: Twenty updates a second and symbol.
SPACING_NS: Final = NS // 20
#: How long a client may be behind.
LAG_NS: Final = 10 * NS

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Client:
    """One connection, as far as prices go.

    Attributes:
        encoding: the name of the encoding that it speaks.
        symbols: what it is subscribed to, one by one: the groups `STOCK_{symbol}`.
        everything: whether it is subscribed to all symbols: the group `AssetClass_STOCK`.
        behind: the symbols that it has still to be sent.
        behind_since_ns: since when there are any.

    """

    encoding: str
    symbols: set[str] = field(default_factory=set)
    everything: bool = False
    behind: set[str] = field(default_factory=set)
    behind_since_ns: int = 0

    def wants(self, symbol: str) -> bool:
        """Return whether it is subscribed to a symbol."""
        return self.everything or symbol in self.symbols


class Send(NamedTuple):
    """The latest values of these symbols go to these clients, who speak the same encoding."""

    encoding: str
    symbols: frozenset[str]
    clients: list[Client]


class Flush(NamedTuple):
    """What one flush decides.

    Attributes:
        due: the symbols whose latest value goes out now to whoever keeps up.
        sends: who gets what.
        hopeless: who has been behind for too long.

    """

    due: frozenset[str]
    sends: list[Send]
    hopeless: list[Client]


#: An encoding, and a set of symbols; None for all.
_Bucket = tuple[str, frozenset[str] | None]


class Fanout(Generic[T]):
    """The latest values, what changed, and who wants to know."""

    def __init__(self) -> None:
        self.latest: dict[str, T] = {}
        self._dirty: set[str] = set()
        self._next_ns: dict[str, int] = {}
        self._buckets: dict[_Bucket, set[Client]] = {}
        self._behind: set[Client] = set()

    def put(self, symbol: str, value: T) -> None:
        """Take a symbol's newest value."""
        self.latest[symbol] = value
        self._dirty.add(symbol)

    def subscribe(self, client: Client, symbols: Iterable[str], now_ns: int) -> None:
        """Have a client told of these symbols, and first of their latest values."""
        self._move(client, {*client.symbols, *symbols}, everything=client.everything)
        self._remember(client, self.latest.keys() & set(symbols), now_ns)

    def subscribe_to_all(self, client: Client, now_ns: int) -> None:
        """Have a client told of every symbol, and first of their latest values."""
        self._move(client, client.symbols, everything=True)
        self._remember(client, self.latest.keys(), now_ns)

    def unsubscribe(self, client: Client, symbols: Iterable[str]) -> None:
        """Have a client no longer told of these symbols, unless it is of all."""
        self._move(client, client.symbols - set(symbols), everything=client.everything)

    def unsubscribe_from_all(self, client: Client) -> None:
        """Have a client told only of the symbols that it named."""
        self._move(client, client.symbols, everything=False)

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self._move(client, set(), everything=False)

    def subscribers(self, symbol: str) -> int:
        """Return how many clients are told of a symbol."""
        return sum(
            len(clients)
            for (_, symbols), clients in self._buckets.items()
            if symbols is None or symbol in symbols
        )

    def wake_at_ns(self, now_ns: int) -> int | None:
        """Return when there is something to flush; None when there is nothing."""
        due = [self._next_ns.get(symbol, now_ns) for symbol in self._dirty]
        return min([*due, *([now_ns] if self._behind else [])], default=None)

    def flush(self, now_ns: int, is_busy: Callable[[Client], bool]) -> Flush:
        """Decide what goes out now.

        Args:
            now_ns: the time.
            is_busy: whether a client has not taken yet what it was sent before.

        """
        due = frozenset(s for s in self._dirty if self._next_ns.get(s, 0) <= now_ns)
        self._dirty -= due
        self._next_ns.update(dict.fromkeys(due, now_ns + SPACING_NS))
        batches: defaultdict[tuple[str, frozenset[str]], list[Client]] = defaultdict(list)
        for (encoding, symbols), clients in self._buckets.items():
            wanted = due if symbols is None else due & symbols
            if wanted:
                for client in clients:
                    if client.behind or is_busy(client):
                        self._remember(client, wanted, now_ns)
                    else:
                        batches[encoding, wanted].append(client)
        hopeless = []
        for client in [*self._behind]:
            if not is_busy(client):
                batches[client.encoding, frozenset(client.behind)].append(client)
                self._caught_up(client)
            elif now_ns - client.behind_since_ns > LAG_NS:
                hopeless.append(client)
        return Flush(due, [Send(*of, clients) for of, clients in batches.items()], hopeless)

    def _remember(self, client: Client, symbols: Collection[str], now_ns: int) -> None:
        if not symbols:
            return
        if not client.behind:
            client.behind_since_ns = now_ns
        client.behind.update(symbols)
        self._behind.add(client)

    def _caught_up(self, client: Client) -> None:
        client.behind.clear()
        self._behind.discard(client)

    def _move(self, client: Client, symbols: set[str], *, everything: bool) -> None:
        """Take a client out of its bucket and put it into the one of what it wants now."""
        before = self._buckets.get(self._bucket(client))
        if before is not None:
            before.discard(client)
            if not before:
                del self._buckets[self._bucket(client)]
        client.symbols, client.everything = symbols, everything
        if symbols or everything:
            self._buckets.setdefault(self._bucket(client), set()).add(client)
        if not everything:
            client.behind &= symbols
        if not client.behind:
            self._behind.discard(client)

    @staticmethod
    def _bucket(client: Client) -> _Bucket:
        return client.encoding, None if client.everything else frozenset(client.symbols)
