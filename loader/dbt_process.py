"""The process that dbt runs in, as `loader.dbt` starts it; it imports nothing of labmart.

`dbt_process.py -- ARGUMENT…` is `dbt ARGUMENT…`. It writes dbt's events to stdout as JSON lines in
dbt's own form, without level debug: otherwise dbt would format thousands of events that nobody
reads, which takes a sixth of a small build.

`dbt_process.py OPTION… -- ARGUMENT…` prepares first: it imports dbt and parses the project with the
options, those of `dbt parse`. Then it waits for a line on stdin, or ends when stdin does.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time


def _watch(parent: int) -> None:
    """If the process that started a build is killed, end dbt as on Ctrl-C.

    Otherwise it would go on writing to tables that the next build takes for its own.
    """
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)


def _run(prepared: list[str], arguments: list[str]) -> None:
    parent = os.getppid()
    from dbt.cli.main import cli, dbtRunner
    from dbt_common.clients.jinja import template_cache
    from dbt_common.events.base_types import EventMsg
    from dbt_common.events.functions import env_scrubber, msg_to_json

    turn = threading.Lock()

    def tell(event: EventMsg) -> None:
        if event.info.level not in ("debug", "test"):
            with turn:
                print(env_scrubber(msg_to_json(event)), flush=True)

    manifest = None
    if prepared:
        # The build reports what is wrong with the project; there is no manifest then.
        quietly = ["--log-level", "none", "--log-level-file", "none"]
        manifest = dbtRunner().invoke(["parse", *quietly, "--no-write-json", *prepared]).result
        for macro in getattr(manifest, "macros", {}).values():
            # dbt compiles a macro when it is first called.
            template_cache.get_node_template(macro)
        if not sys.stdin.readline():
            return
    # Otherwise dbt uses --log-level for it, and checks the file before each of thousands of debug
    # lines; the SQL in them is in target/, too.
    os.environ.setdefault("DBT_LOG_LEVEL_FILE", "info")
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    cli(
        ["--log-level", "none", *arguments],
        obj={"manifest": manifest, "callbacks": [tell]},
    )


if __name__ == "__main__":
    # A shell starts background jobs with SIGINT ignored; dbt would inherit that and not end on it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # dbt's objects live as long as its process, so garbage collection finds nothing and takes a
    # tenth of a small build.
    gc.set_threshold(200_000, 50, 50)
    sys.argv[0] = "dbt"
    divided = sys.argv.index("--")
    _run(sys.argv[1:divided], sys.argv[divided + 1 :])
