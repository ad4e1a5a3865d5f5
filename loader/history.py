"""The history of loads for users: `labmart loads`, and the messages of undo, redo and prune."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress

from loader import ledger
from loader.contract import Column
from loader.database import Database
from loader.dbt import one_build_at_a_time
from loader.engines import Row
from loader.engines.raw_store import LEDGER_COLUMNS, RawStore, open_store
from loader.errors import LabmartError
from loader.ledger import Load
from loader.printable import listed
from loader.show import Account, accounts, display, print_rows

# The ledger knows the lines that could not be split; only a build knows the rejected rows.
_REJECTED = ("rejected_lines", "rejected_rows", "rejected")
COLUMNS = tuple(
    Column(name, type_)
    for ledger_name, type_ in LEDGER_COLUMNS.items()
    for name in (_REJECTED if ledger_name == "records_rejected" else (ledger_name,))
)
BUILD = "Run `labmart build` to bring the tables up to date."
# The columns that fit a terminal; other formats have them all.
_IN_A_TABLE = (
    *("load_id", "status", "input", "file", "records_read"),
    *("rejected", "finished_at", "loaded_by"),
)
_NAMED = 5


def show_loads(database: Database, *, format_: str, limit: int | None) -> None:
    """Print the ledger by load_id; with a limit, the newest loads. Their number goes to stderr."""
    names = _IN_A_TABLE if format_ == "table" else [column.name for column in COLUMNS]
    columns = tuple(column for column in COLUMNS if column.name in names)
    rows, total = load_rows(database, columns, limit)
    shown = f"the newest {len(rows):,} of {total:,}" if len(rows) < total else f"{total:,}"
    print_rows(
        columns, rows, format_, f"loads: {shown}" if total else "Nothing has been loaded yet."
    )


def load_rows(
    database: Database, columns: Sequence[Column] = COLUMNS, limit: int | None = None
) -> tuple[list[Row], int]:
    """The newest loads, by load_id, and the total number of loads.

    Rejected rows are known only after a build, and a build judges only current loads.
    """
    with _store(database, write=False) as store:
        loads = store.loads()
    judged: dict[int, tuple[str, Account]] = {}
    with suppress(LabmartError), database.open() as source:
        judged = accounts(database.project, source)

    def row(load: Load) -> Row:
        _, account = judged.get(load.load_id, ("", None))
        if load.status != ledger.CURRENT:
            account = None
        cells = vars(load) | {
            "rejected_lines": load.records_rejected,
            "rejected_rows": account and account.rejected_rows,
            "rejected": account and account.rejected,
        }
        return tuple(cells[column.name] for column in columns)

    return list(map(row, loads[-limit:] if limit else loads)), len(loads)


def change_loads(database: Database, load_ids: Sequence[int], *, undo: bool) -> str:
    """Undo or redo loads and return a message. Raises UnknownLoad or WrongStatus."""
    with _store(database, write=True) as store:
        before = store.loads()
        new = store.mark(load_ids, undone=undo)
        store.commit()
    return "\n".join(after_change(before, load_ids, new))


def prune_loads(database: Database, *, check: bool) -> str:
    """Delete the loads that are not current; with `check`, only report them.

    PostgreSQL's autovacuum then frees the space for new rows; vacuuming here would take as long as
    a load.
    """
    # A build reads the ledger first and the rows later, so the rows must stay until it ends.
    turn = nullcontext() if check else one_build_at_a_time(database.project)
    with turn, _store(database, write=not check) as store:
        gone = ledger.not_current(store.loads())
        if not check:
            store.delete(gone)
            store.commit()
            # In the lake, another call may have made one of them current meanwhile.
            left = {load.load_id for load in store.loads()}
            gone = [load for load in gone if load.load_id not in left]
    return "\n".join(after_prune(gone, check=check))


@contextmanager
def _store(database: Database, *, write: bool) -> Iterator[RawStore]:
    database.ready()
    with open_store(database.profile, write=write) as store:
        yield store


def after_change(
    before: Sequence[Load], load_ids: Sequence[int], new: Mapping[int, str]
) -> list[str]:
    """The effect of an undo or redo: `before` is the old ledger, `new` the changed statuses."""
    now = ledger.after(before, new)
    takers = ledger.takers(now)
    words = {ledger.REVERTED: "is undone", ledger.CURRENT: "is current again"}
    sentences = []
    for load in now:
        if load.load_id in load_ids:
            taken = f"is redone, but load {takers[load.load_id]} has replaced it"
            sentences.append(f"{_called(load)} {words.get(load.status, taken)}")
    others = [load_id for load_id in new if load_id not in load_ids]
    for status, became in ((ledger.CURRENT, "current again"), (ledger.SUPERSEDED, "replaced")):
        if ids := [str(load_id) for load_id in others if new[load_id] == status]:
            sentences[-1] += f"; {len(ids):,} {became}: {listed(ids, _NAMED)}"
    counted = [load.status for load in before if load.load_id in new]
    return [*sentences, BUILD] if ledger.CURRENT in (*counted, *new.values()) else sentences


def after_prune(gone: Sequence[Load], *, check: bool) -> list[str]:
    """How many rows of which loads were, or would be, deleted."""
    if not gone:
        return ["Every load is current; there is nothing to delete."]
    word = "would be deleted" if check else "deleted"
    rows = [load.records_read - load.records_rejected for load in gone]
    sentences = [
        f"{_called(load)}, {load.status}: {kept:,} rows, {load.records_rejected:,} rejected lines "
        f"{word}"
        for load, kept in zip(gone, rows, strict=True)
    ]
    return [*sentences, f"In all {len(gone):,} with {sum(rows):,} rows {word}."]


def _called(load: Load) -> str:
    return f"load {load.load_id} ({display(load.file)} into {display(load.input)})"
