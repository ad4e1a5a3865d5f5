"""A laboratory of any size: users.csv, compounds.csv and user_experiments.csv.

A few users run most of the experiments and a few compounds are in most of the lists, with
weights 1 / rank^0.8. One user in fifty never runs any. An experiment lists 1 to 4 compounds,
now and then one of them twice. The files are plain: comma, header line, LF, nothing quoted.

A dirty share of the experiment rows is spoiled in the ways that the project's rules name. The same
laboratory gives the same bytes, on every Python that labmart supports. Memory does not grow with
the number of experiments.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

ORDERS = ("sequential", "shuffled")
# Rows are made in portions of this size; it decides which random numbers a row gets.
PORTION = 100_000
_SKEW = 0.8
_IDLE = 50
_ITEMS = (1, 2, 3, 4)
# Minutes with one decimal, from 5.0 to 399.9.
_RUN_TIMES = [f"{tenths / 10:.1f}" for tenths in range(50, 4000)]

Cells = tuple[str, str, str, str]


@dataclass
class Laboratory:
    """What to make.

    `users` and `compounds` are numbers of rows; by default there is a user for 100 experiments.
    `dirty` is the share of experiment rows to spoil, from 0 to 1; `order` says how the experiment
    ids follow each other in the file.
    """

    experiments: int
    users: int = 0
    compounds: int = 2_000
    dirty: float = 0.0
    order: str = ORDERS[0]
    seed: int = 1

    def __post_init__(self) -> None:
        self.users = self.users or max(1, self.experiments // 100)

    def __str__(self) -> str:
        return (
            f"{self.experiments:,} experiments, {self.users:,} users, {self.compounds:,} "
            f"compounds, {self.dirty:.1%} dirty, {self.order} ids, seed {self.seed}"
        )


def write(laboratory: Laboratory, folder: Path) -> list[Path]:
    """Write the three files; the folder is made when missing, older files are overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "users": ("user_id,name,email,signup_date\n", user_lines(laboratory)),
        "compounds": ("compound_id,compound_name,compound_structure\n", compound_lines(laboratory)),
        "user_experiments": (
            "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n",
            experiment_lines(laboratory),
        ),
    }
    paths = []
    for name, (header, portions) in parts.items():
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="", buffering=1 << 20) as file:
            file.write(header)
            for lines in portions:
                file.writelines(lines)
        paths.append(path)
    return paths


def user_lines(laboratory: Laboratory) -> Iterator[list[str]]:
    """The users, with ids 1, 2, 3 …"""
    for numbers in _portions(laboratory.users):
        yield [
            f"{n},User {n},user{n}@lab.example,20{n % 25:02}-{n % 12 + 1:02}-{n % 28 + 1:02}\n"
            for n in numbers
        ]


def compound_lines(laboratory: Laboratory) -> Iterator[list[str]]:
    """The compounds, with ids 1, 2, 3 … and formulas that look like some, but are made up."""
    for numbers in _portions(laboratory.compounds):
        yield [f"{n},Compound {n},C{n % 40 + 1}H{n % 60 + 2}N{n % 5 + 1}O\n" for n in numbers]


def experiment_lines(laboratory: Laboratory) -> Iterator[list[str]]:
    """The experiments, in portions."""
    chance = random.Random(laboratory.seed)
    users, user_weights = _skewed(chance, laboratory.users, laboratory.users // _IDLE)
    compounds, compound_weights = _skewed(chance, laboratory.compounds, 0)
    for numbers in _portions(laboratory.experiments):
        ids = _ids(chance, laboratory, numbers)
        count = len(ids)
        chosen_users = chance.choices(users, cum_weights=user_weights, k=count)
        sizes = chance.choices(_ITEMS, k=count)
        items = chance.choices(compounds, cum_weights=compound_weights, k=sum(sizes))
        times = chance.choices(_RUN_TIMES, k=count)
        lists = [
            ";".join(items[end - size : end])
            for size, end in zip(sizes, accumulate(sizes), strict=True)
        ]
        if laboratory.dirty:
            rows = list(zip(map(str, ids), chosen_users, lists, times, strict=True))
            yield [",".join(cells) + "\n" for cells in _spoiled(chance, laboratory, rows)]
        else:
            yield [
                f"{number},{user},{listed},{minutes}\n"
                for number, user, listed, minutes in zip(
                    ids, chosen_users, lists, times, strict=True
                )
            ]


def _portions(count: int) -> Iterator[range]:
    """The numbers from 1 to `count`, in portions."""
    for start in range(0, count, PORTION):
        yield range(start + 1, min(start + PORTION, count) + 1)


def _skewed(chance: random.Random, count: int, idle: int) -> tuple[list[str], list[float]]:
    """The ids 1 to `count` without the idle ones, most used first, and their running weights."""
    # The heavy ones are anywhere among the ids, as in life.
    ids = chance.sample(range(1, count + 1), count - idle)
    return [str(n) for n in ids], list(accumulate(rank**-_SKEW for rank in range(1, len(ids) + 1)))


def _ids(chance: random.Random, laboratory: Laboratory, numbers: range) -> Sequence[int]:
    """The ids of one portion of the experiments.

    Shuffled, a portion has ids from the whole range in random order: every n-th one, where n is
    the number of portions. Shuffling all of them at once would need memory for all of them.
    """
    if laboratory.order == "sequential":
        return numbers
    portions = -(-laboratory.experiments // PORTION)
    every = range((numbers.start - 1) // PORTION + 1, laboratory.experiments + 1, portions)
    return chance.sample(every, len(every))


def _spoiled(
    chance: random.Random, laboratory: Laboratory, rows: Sequence[Cells]
) -> Iterator[Cells]:
    spoilers = _spoilers(laboratory)
    for cells in rows:
        if chance.random() < laboratory.dirty:
            yield chance.choice(spoilers)(chance, cells, rows)
        else:
            yield cells


Spoiler = Callable[[random.Random, Cells, Sequence[Cells]], Cells]


def _spoilers(laboratory: Laboratory) -> list[Spoiler]:
    """One function for each way in which a row can be wrong, or odd and yet right."""
    too_long = "9" * 19
    no_id = ("x", "-7", "7.5", "1e3", "#12", "n/a", too_long)
    no_time = ("-3.5", "1e3", ".5", "n/a", "12 min", "9" * 13)
    unknown_user = str(laboratory.users + 1)
    unknown_compound = str(laboratory.compounds + 1)
    return [
        # missing_id, invalid_id, duplicate_id
        lambda _, row, __: ("", *row[1:]),
        lambda chance, row, _: (chance.choice(no_id), *row[1:]),
        lambda chance, row, rows: (chance.choice(rows)[0], *row[1:]),
        # missing_user, invalid_user, unknown_user
        lambda _, row, __: (row[0], " ", row[2], row[3]),
        lambda chance, row, _: (row[0], chance.choice(no_id), row[2], row[3]),
        lambda _, row, __: (row[0], unknown_user, row[2], row[3]),
        # missing_run_time, invalid_run_time
        lambda _, row, __: (*row[:3], ""),
        lambda chance, row, _: (*row[:3], chance.choice(no_time)),
        # missing_compounds, invalid_compound_id, unknown_compound
        lambda chance, row, _: (*row[:2], chance.choice(("", ";", " ; ")), row[3]),
        lambda chance, row, _: (*row[:2], f"{row[2]};{chance.choice(no_id)}", row[3]),
        lambda _, row, __: (*row[:2], f"{row[2]};{unknown_compound}", row[3]),
        # empty items, padding, zeros around the digits: all sound
        lambda chance, row, _: (*row[:2], chance.choice((f"{row[2]};", f";;{row[2]}")), row[3]),
        lambda chance, row, _: (
            _padded(chance, row[0]),
            _padded(chance, row[1]),
            " " + row[2].replace(";", " ; "),
            _padded(chance, row[3]),
        ),
        lambda _, row, __: (f"00{row[0]}", f"{row[1]}.0", f"0{row[2]}", row[3]),
    ]


def _padded(chance: random.Random, cell: str) -> str:
    """The cell with something around it that trimming takes away: space, TAB, NBSP, BOM."""
    left, right = chance.choices(("", " ", "\t", "\u00a0", "\ufeff", "  \t"), k=2)
    return left + cell + right
