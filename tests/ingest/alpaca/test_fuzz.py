"""A hundred thousand broken frames, and a session that takes them all.

`FUZZ_FRAMES` asks for more, `FUZZ_SEED` for others.
"""

import os
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from infra.market_calendar import ALWAYS_OPEN
from ingest.alpaca.outputs import Closure, Open, Plan, Received
from ingest.alpaca.session import Session
from ingest.alpaca.states import State
from ingest.alpaca.wire import Encoding
from ingest.clock import Now
from ingest.events import RawTick
from ingest.keys import Keys

FRAMES = int(os.environ.get("FUZZ_FRAMES", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", "7"))
SYMBOLS = ("AAPL", "MSFT")

_MESSAGES: tuple[Any, ...] = (
    {"T": "t", "S": "AAPL", "i": 7, "x": "V", "p": 1.5, "s": 100, "c": ["@"], "z": "C"},
    {"T": "q", "S": "MSFT", "bp": 1.5, "bs": 1, "ap": 1.6, "as": 2, "c": ["R"], "z": "C"},
    {"T": "s", "S": "AAPL", "sc": "H", "sm": "Halt", "rc": "T12", "rm": "", "z": "C"},
    {"T": "b", "S": "AAPL", "o": 1, "h": 2, "l": 1, "c": 2, "v": 3},
    {"T": "success", "msg": "connected"},
    {"T": "success", "msg": "authenticated"},
    {"T": "subscription", "trades": list(SYMBOLS), "quotes": [], "bars": []},
    *({"T": "error", "code": code, "msg": "no"} for code in (400, 401, 402, 405, 406, 407, 500)),
)


def _frames(chance: random.Random, encoding: Encoding, count: int) -> Iterator[bytes]:
    """Yield real frames, most of them with something wrong."""
    encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
    good = [encode([message]) for message in _MESSAGES] + [encode(_MESSAGES[:4])]
    for _ in range(count):
        frame = bytearray(chance.choice(good))
        for _ in range(chance.choice((0, 1, 1, 2, 5))):
            place = chance.randrange(len(frame) + 1)
            match chance.randrange(4):
                case 0:
                    frame[place : place + 1] = bytes([chance.randrange(256)])
                case 1:
                    del frame[place : place + chance.randrange(1, 8)]
                case 2:
                    frame[place:place] = chance.randbytes(chance.randrange(1, 8))
                case 3:
                    other = chance.choice(good)
                    frame[place:] = other[chance.randrange(len(other)) :]
        yield bytes(frame)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_no_frame_stops_the_session_or_is_lost(encoding: Encoding) -> None:
    """Nothing raises, sequences have no holes, ticks can be read back, and memory is bounded."""
    chance = random.Random(f"{SEED}/{encoding}")
    seconds = 1000.0

    def now() -> Now:
        return Now(1_790_000_000_000_000_000 + int(seconds * 1e9), seconds)

    session = Session(
        Plan(feed="iex", encoding=encoding),
        symbols=SYMBOLS,
        keys=Keys(key_id="id", secret="secret"),
        run_id="run",
        now=now(),
        jitter=chance.random,
        market=ALWAYS_OPEN,
    )
    decoder = msgspec.json.Decoder(RawTick)
    streamed = 0
    expected: dict[str, int] = {}
    for frame in _frames(chance, encoding, FRAMES // 2):
        seconds += 0.001
        while session.state in (State.DISCONNECTED, State.ERROR):
            session.closed(Closure("closed"), now())
            if session.stopped:
                session.reconnect("fuzz", now())
            assert session.deadline is not None
            seconds = max(seconds, session.deadline)
            assert Open() in session.timer(now())
            session.connected(now())
            encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
            for message in _MESSAGES[4:7]:
                session.frame(encode([message]), now())
        for output in session.frame(frame, now()):
            if isinstance(output, Received):
                assert len(output.ticks) == len(output.meters)
                for tick in output.ticks:
                    streamed += 1
                    following = expected.get(tick.session_id, tick.session_seq)
                    assert tick.session_seq == following
                    expected[tick.session_id] = following + 1
                    assert decoder.decode(msgspec.json.encode(tick)) == tick
    assert streamed > FRAMES / 10, "hardly anything got through"
    # a vendor can make up names: what is remembered by name is bounded by what we want
    assert session._hearing._halted <= set(SYMBOLS)
    assert set(session.subscription.malformed) <= set(SYMBOLS)
