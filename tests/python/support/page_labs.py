"""Laboratories for the page to show: a small one, a large one, one whose names are hostile."""

from __future__ import annotations

import random

from support.page_marts import Mart, Row
from support.page_service import STAMP, Job, PageService

NAMES = (
    "Marie Curie",
    "Rosalind Franklin",
    "Dorothy Hodgkin",
    "Lise Meitner",
    "Chien-Shiung Wu",
    "Ada Lovelace",
    "Barbara McClintock",
    "Emmy Noether",
    "Rita Levi-Montalcini",
    "Gerty Cori",
    "Maria Goeppert Mayer",
    "Irène Joliot-Curie",
    "Tu Youyou",
    "Katalin Karikó",
    "Jocelyn Bell Burnell",
    "Vera Rubin",
    "Ruby Hirose",
    "Alice Ball",
    "Mary Anning",
    "Hedy Lamarr",
    "Inge Lehmann",
    "Cecilia Payne",
    "Flossie Wong-Staal",
    "Wu Jianxiong",
)
COMPOUNDS = (
    "Caffeine",
    "Aspirin",
    "Ibuprofen",
    "Paracetamol",
    "Penicillin",
    "Morphine",
    "Quinine",
    "Insulin",
    "Warfarin",
    "Atropine",
)
# Markup, a turned direction, a formula, a name that does not end, what unseen characters do.
HOSTILE = (
    "<img src=x onerror=\"document.title='gone'\">",
    "report\u202egpj.exe",
    "=cmd|' /C calc'!A0",
    "x" * 10_000,
    '"><script>document.title="gone"</script>',
    "'); document.title='gone'; ('",
    "javascript:document.title='gone'",
    "\u0000\u0007\u001b[31m",
)
FEATURES = {
    "user_id": "bigint",
    "total_exp_per_user": "bigint",
    "avg_experiment_count": "numeric(18,6)",
    "avg_exp_time_per_user": "numeric(18,6)",
    "most_consumed_compound": "bigint",
    "most_consumed_compound_name": "text",
    "distinct_compounds": "bigint",
    "user_name": "text",
    "signup_date": "date",
}
ISSUES = {
    "rule": "text",
    "severity": "text",
    "input": "text",
    "load_id": "bigint",
    "file": "text",
    "line": "bigint",
    "record_key": "text",
    "column_name": "text",
    "value": "text",
    "message": "text",
}
USAGE = {
    "compound_id": "bigint",
    "compound_name": "text",
    "compound_structure": "text",
    "users": "bigint",
    "experiments": "bigint",
    "times_listed": "bigint",
}
EXPERIMENTS = {"experiment_id": "bigint", "user_id": "bigint", "run_time": "numeric(18,6)"}


def furnish(
    service: PageService,
    *,
    users: int = 24,
    names: tuple[str, ...] = NAMES,
    issues: int = 16,
    loaded: bool = True,
) -> None:
    """Give the service a laboratory of so many users, the same each time."""
    random_ = random.Random(5)
    counts = [min(int(random_.expovariate(0.3)), 40) for _ in range(users)]
    mean = round(sum(counts) / users, 6)
    experiments: list[Row] = [
        {
            "experiment_id": number,
            "user_id": random_.randrange(users) + 1,
            "run_time": None if number % 19 == 0 else round(random_.gammavariate(4, 6), 2),
        }
        for number in range(1, sum(counts) + 1)
    ]
    features: list[Row] = [
        {
            "user_id": number + 1,
            "total_exp_per_user": total,
            "avg_experiment_count": mean,
            "avg_exp_time_per_user": round(random_.gammavariate(4, 6), 6) if total else None,
            "most_consumed_compound": number % len(COMPOUNDS) + 1 if total else None,
            "most_consumed_compound_name": COMPOUNDS[number % len(COMPOUNDS)] if total else None,
            "distinct_compounds": min(total, 5),
            "user_name": names[number % len(names)],
            "signup_date": f"2024-03-{number % 28 + 1:02}",
        }
        for number, total in enumerate(counts)
    ]
    usage: list[Row] = [
        {
            "compound_id": number + 1,
            "compound_name": name,
            "compound_structure": "C8H10N4O2",
            "users": 9,
            "experiments": 60 // (number + 1),
            "times_listed": 64 // (number + 1),
        }
        for number, name in enumerate(COMPOUNDS)
    ]
    service.marts = {
        mart.name: mart
        for mart in (
            Mart("user_features", FEATURES, features),
            Mart("compound_usage", USAGE, usage),
            Mart("experiments", EXPERIMENTS, experiments),
            Mart("input_issues", ISSUES, [_issue(number, names) for number in range(issues)]),
        )
    }
    if loaded:
        service.loads = [_load(1, "compounds"), _load(2, "users"), _load(3, "user_experiments")]


def _issue(number: int, names: tuple[str, ...]) -> Row:
    rule = ("invalid_id", "unknown_user", "invalid_run_time", "duplicate_id")[number % 4]
    return {
        "rule": rule,
        "severity": "warning" if rule == "invalid_run_time" else "error",
        "input": "user_experiments",
        "load_id": 3,
        "file": "monday.csv" if names is NAMES else names[number % len(names)],
        "line": number * 3 + 2,
        "record_key": str(number),
        "column_name": "experiment_id",
        "value": "x1" if names is NAMES else names[number % len(names)],
        "message": "An id is a whole number of up to 18 digits.",
    }


def _load(load_id: int, input_: str) -> Row:
    return {
        "load_id": load_id,
        "input": input_,
        "file": f"{input_}.csv",
        "mode": "append",
        "status": "current",
        "records_read": 66,
        "records_rejected": 2 if load_id == 3 else 0,
        "started_at": STAMP,
        "finished_at": STAMP,
        "loaded_by": "press",
    }


def load_and_build(service: PageService, job: Job) -> None:
    """Let a job run to its end, as a load of its files does."""
    begin(service, job)
    for name, _ in job.files:
        service.tell(job, "file", _loaded(name))
    build(service, job)
    job.result = {
        "files": [_loaded(name) for name, _ in job.files],
        "build": {"passed": 150, "failed": 0, "skipped": 0, "seconds": 9.4, "failures": []},
    }
    service.turn(job, "done")


def begin(service: PageService, job: Job) -> None:
    """A job starts and reads half of its bytes."""
    service.turn(job, "running")
    total = sum(size for _, size in job.files)
    name = job.files[0][0] if job.files else None
    progress = {"step": "loading", "file": name, "records": 33}
    service.tell(job, "progress", progress | {"bytes": total // 2, "bytes_total": total})


def build(service: PageService, job: Job, *, done: int = 150) -> None:
    """So many of the 150 nodes of a build are done."""
    for number in range(done):
        node = {"name": f"stg_table_{number}", "kind": "model", "status": "success"}
        service.tell(job, "node", node | {"seconds": 0.12})
    progress = {"step": "building", "nodes_done": done, "nodes_total": 150}
    service.tell(job, "progress", progress)


def _loaded(name: str) -> dict[str, object]:
    return {
        "file": name,
        "input": "users",
        "state": "loaded",
        "load_id": 4,
        "records_read": 24,
        "records_rejected": 1,
        "notes": ["text, utf-8, delimiter ','"],
        "rejected_examples": [{"line": 9, "rule": "broken_quoting", "detail": "A quote is open."}],
    }
