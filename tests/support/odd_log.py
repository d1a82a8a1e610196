"""A log of four services with a few odd lines: ``python -m tests.support.odd_log log odd``.

It writes the log, and the numbers of its odd lines (from 1). A seed decides all of it.
"""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

NORMAL, EACH, SEED = 20_000, 5, 1
USERS = ["anna", "ben", "carla", "dmitri", "elena", "farid", "greta", "hugo", "ines", "jonas"]
PAGES = ["products", "orders", "users", "cart", "search", "invoices"]
TABLES = ["orders", "users", "products", "invoices", "sessions"]
JOBS = ["backup", "rotate", "cleanup", "report", "reindex"]


def address(rng: random.Random) -> str:
    return f"10.0.{rng.randrange(8)}.{rng.randrange(1, 255)}"


def web(rng: random.Random) -> str:
    status = rng.choices([200, 304, 404, 500], [90, 6, 3, 1])[0]
    verb = rng.choices(["GET", "POST"], [5, 1])[0]
    path = f"/{rng.choice(PAGES)}/{rng.randrange(10_000)}"
    head = f"INFO web[{rng.randrange(1, 9)}]: {verb} {path}"
    return f"{head} {status} {rng.randrange(3, 400)}ms {address(rng)}"


def auth(rng: random.Random) -> str:
    what = rng.choices(["logged in", "logged out", "failed password"], [5, 4, 1])[0]
    level = "WARN" if what.startswith("failed") else "INFO"
    return (
        f"{level} auth[{rng.randrange(1, 4)}]: user {rng.choice(USERS)} {what} from {address(rng)}"
    )


def database(rng: random.Random) -> str:
    head = f"WARN db[{rng.randrange(1, 4)}]: slow query"
    return f"{head} {rng.randrange(500, 5000)}ms on {rng.choice(TABLES)}"


def cron(rng: random.Random) -> str:
    return f"INFO cron[1]: job {rng.choice(JOBS)} finished in {rng.randrange(1, 120)}s"


def normal(rng: random.Random) -> str:
    return rng.choices([web, auth, database, cron], [12, 4, 3, 1])[0](rng)


def traversal(rng: random.Random) -> str:
    file = rng.choice(["etc/passwd", "etc/shadow", "var/log/auth.log", "root/.ssh/id_rsa"])
    head = f"INFO web[{rng.randrange(1, 9)}]: GET"
    return f"{head} /{'../' * rng.randrange(3, 7)}{file} 404 5ms {address(rng)}"


def injection(rng: random.Random) -> str:
    attack = rng.choice(["1' OR '1'='1", "1;DROP TABLE users--", "1 UNION SELECT password"])
    head = f"INFO web[{rng.randrange(1, 9)}]: GET /products/{attack}"
    return f"{head} 500 {rng.randrange(9, 99)}ms {address(rng)}"


def payload(rng: random.Random) -> str:
    data = base64.b64encode(rng.randbytes(rng.randrange(15, 60))).decode()
    head = f"INFO web[{rng.randrange(1, 9)}]: POST /search/{data}"
    return f"{head} 200 {rng.randrange(9, 99)}ms {address(rng)}"


def crash(rng: random.Random) -> str:
    error = rng.choice(["KeyError: 'total'", "ZeroDivisionError", "TimeoutError: db[2]"])
    head = f"ERROR web[{rng.randrange(1, 9)}]: unhandled exception {error}"
    return f"{head} in checkout.py line {rng.randrange(300)}"


def memory(rng: random.Random) -> str:
    return f"CRIT kernel: Out of memory: killed process {rng.randrange(1000, 9999)} (python)"


def garbled(rng: random.Random) -> str:
    line = list(normal(rng))
    for place in rng.sample(range(len(line)), len(line) // 4):
        line[place] = chr(rng.randrange(33, 127))
    return "".join(line)


def stranger(rng: random.Random) -> str:
    who = rng.choice(["root", "admin", "oracle", "test1", "guest"])
    where = ".".join(str(rng.randrange(11, 255)) for _ in range(4))
    return f"INFO auth[{rng.randrange(1, 4)}]: user {who} logged in from {where}"


def cut(rng: random.Random) -> str:
    line = web(rng)
    return line[: rng.randrange(len(line) // 3, len(line) * 2 // 3)]


def swapped(rng: random.Random) -> str:
    level, service, rest = normal(rng).split(" ", 2)
    return f"{service} {level} {rest}"


def misplaced(rng: random.Random) -> str:
    """What one service says, said by another."""
    head, _ = web(rng).split(": ")
    return f"{head}: {rng.choice([auth, database, cron])(rng).split(': ')[1]}"


ODD: list[Callable[[random.Random], str]] = [
    traversal, injection, payload, crash, memory, garbled, stranger, cut, swapped, misplaced,
]  # fmt: skip


def log(seed: int = SEED) -> tuple[list[str], set[int]]:
    """The lines of a log, and the numbers of the odd ones, from 1."""
    rng = random.Random(seed)
    messages = [(normal(rng), False) for _ in range(NORMAL)]
    messages += [(kind(rng), True) for kind in ODD for _ in range(EACH)]
    rng.shuffle(messages)
    time, lines, odd = datetime(2026, 3, 14, 6), list[str](), set[int]()
    for number, (message, is_odd) in enumerate(messages, 1):
        time += timedelta(seconds=rng.expovariate(1 / 3))
        lines.append(f"{time:%Y-%m-%d %H:%M:%S} {message}")
        if is_odd:
            odd.add(number)
    return lines, odd


if __name__ == "__main__":
    LINES, WHICH = log()
    Path(sys.argv[1]).write_text("".join(f"{line}\n" for line in LINES))
    Path(sys.argv[2]).write_text("".join(f"{number}\n" for number in sorted(WHICH)))
