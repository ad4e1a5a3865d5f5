"""`labmart serve`: all routes; the app; and the server's process from start to end."""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from threading import Lock
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import uvicorn
from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import Field

from loader import __version__
from loader.dbt import write_docs
from loader.errors import BuildFailed, UsageError
from loader.parsers.encoding import said_encoding
from loader.publications import PUBLICATIONS
from loader.query import FILTER_SYNTAX
from loader.service.access import Caller, Guard, Service, Serving, TokenStore, require
from loader.service.jobs import Job, JobList, Kind, Options, Settings, Tables, is_loopback, prepared
from loader.service.marts import FORMATS, Marts, RowQuery
from loader.service.problems import DECLARED, HANDLERS, Problem
from loader.service.uploads import UploadOptions, options_of, receive, spooled, take_over
from loader.service.worker import keep_worker
from loader.sources import LEDGER, REJECTED, read_inputs, restricted, with_said_names

# How long requests in progress may take to end.
_LAST_ANSWERS_SECONDS = 3
_MOST_CONNECTIONS = 1000
# Requests share database connections rather than open one each.
_DATABASE_CONNECTIONS = 8

router = APIRouter()

Reader = Annotated[Caller, Depends(require("read"))]
Loader = Annotated[Caller, Depends(require("load"))]


# Routes that are not coroutines wait for the database in their own threads.


@dataclass(frozen=True)
class _JobRequest:
    """A request for a job, of a caller who may have one."""

    caller: Loader
    request: Request
    response: Response
    service: Serving

    def accept(self, kind: Kind, options: Options, job_id: UUID | None = None, **more: Any) -> Job:
        """Queue a job; `more` is what else JobStore.accept takes."""
        job = self.service.jobs.accept(job_id or uuid4(), kind, self.caller.name, options, **more)
        self.response.headers["Location"] = job.links["self"]
        return job


JobRequest = Annotated[_JobRequest, Depends()]

# Uploads: a file as the body, or several as its parts. Everything that can be refused is refused
# before the first byte of the body is read.

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": _BINARY["schema"], "minItems": 1}},
        "required": ["file"],
        "additionalProperties": False,
    }
}
_UPLOAD: dict[str, Any] = {
    "status_code": 202,
    "responses": {
        200: {"model": Job, "description": "The job that this Idempotency-Key has brought before"},
        202: {"description": "Accepted; the job will load it"},
    },
    "tags": ["files"],
}
_Key = Annotated[
    Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] | None,
    Header(
        alias="Idempotency-Key",
        description="Sent again with the same content, it gives the same job.",
    ),
]


def _reading(given: Annotated[UploadOptions, Query()], asked: JobRequest) -> Options:
    """The options for reading files. Refuses those by which no file can be read."""
    options = options_of(given)
    if options.read.encoding is not None:
        said_encoding(options.read.encoding, b"")
    inputs = read_inputs(asked.service.settings.database.project.sources_file)
    with_said_names(restricted(inputs, options.input), options.read.names)
    return Options(**given.model_dump(exclude_defaults=True))


Reading = Annotated[Options, Depends(_reading)]


@router.put(
    "/v1/files/{name}",
    openapi_extra={"requestBody": {"content": {"application/octet-stream": _BINARY}}},
    **_UPLOAD,
)
async def put_file(asked: JobRequest, name: str, options: Reading, key: _Key = None) -> Job:
    """Upload one file: `curl -T users.csv URL/v1/files/`."""
    return await _upload(asked, options, key, name)


@router.post("/v1/files/", status_code=202, include_in_schema=False)
@router.post(
    "/v1/files",
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": _FORM}}},
    **_UPLOAD,
)
async def post_files(asked: JobRequest, options: Reading, key: _Key = None) -> Job:
    """Upload several files, all of which are loaded or none."""
    return await _upload(asked, options, key)


async def _upload(
    asked: _JobRequest, options: Options, key: str | None, name: str | None = None
) -> Job:
    settings, job_id = asked.service.settings, uuid4()
    files = await receive(asked.request, settings, job_id, name)
    # If this fails, nobody knows whether it was accepted; a folder without a job is found and
    # deleted later.
    accept = partial(asked.accept, "load", options, job_id, files=files, idempotency_key=key)
    job = await to_thread.run_sync(accept)
    if job.id != job_id:
        rmtree(spooled(settings.spool_folder, job_id), ignore_errors=True)
        asked.response.status_code = 200
    return job


# Jobs without an upload: builds, undo and redo.


@router.post("/v1/builds", status_code=202, tags=["jobs"])
def build(asked: JobRequest) -> Job:
    """Bring the marts up to date."""
    return asked.accept("build", Options())


@router.post("/v1/loads/{load_id}/{change}", status_code=202, tags=["jobs"])
def change_load(
    asked: JobRequest,
    load_id: Annotated[int, PathParameter(ge=1, lt=2**63)],
    change: Literal["undo", "redo"],
    build: Annotated[bool, Query(description="Bring the marts up to date afterwards.")] = True,
    together: Annotated[
        bool, Query(description="Also the other files that were loaded with it.")
    ] = False,
) -> Job:
    """Make a load not count, so that what it had replaced counts again; or take that back."""
    return asked.accept(change, Options(build=build, load_id=load_id, together=together))


# Jobs.


@router.get("/v1/jobs", tags=["jobs"])
def list_jobs(
    _: Reader, service: Serving, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> JobList:
    """Jobs, the newest first."""
    return JobList(items=service.jobs.newest(limit))


@router.get("/v1/jobs/{job_id}", tags=["jobs"])
def get_job(job_id: UUID, _: Reader, service: Serving) -> Job:
    """A job."""
    return service.jobs.find(job_id)


@router.post("/v1/jobs/{job_id}/cancel", status_code=202, tags=["jobs"])
def cancel_job(job_id: UUID, _: Loader, service: Serving) -> Job:
    """Cancel a job. What it has loaded already stays; undo takes it back."""
    return service.jobs.cancel(job_id)


@router.post("/v1/jobs/{job_id}/retry", status_code=202, tags=["jobs"])
def retry_job(asked: JobRequest, job_id: UUID, options: Reading) -> Job:
    """Load the files of a refused upload again, read as is said now; for an hour they are kept.

    None of the options that it came with is taken over.
    """
    refused, new_id = asked.service.jobs.find(job_id), uuid4()
    if refused.kind != "load" or refused.state != "failed":
        raise Problem(409, "not-refused", "Only an upload that was refused can be loaded again.")
    take_over(asked.service.settings.spool_folder, job_id, new_id)
    return asked.accept("load", options, new_id, files=refused.files)


# The marts and the ledger: the list, and their rows.


_FILTERS = {
    "name": "filters",
    "in": "query",
    "description": FILTER_SYNTAX,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "style": "form",
    "explode": True,
}
# What the OpenAPI document says of a route that returns rows.
_TABLE: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "The rows, in JSON as `items`; `next` is the `after` of the next page. "
            "The header Labmart-Build is the published build that the rows of a mart are of.",
            "content": {media_type: {} for media_type in FORMATS.values()},
        },
        304: {"description": "Nothing has changed since the tag in If-None-Match."},
    },
    "openapi_extra": {"parameters": [_FILTERS]},
}
_Rows = Annotated[RowQuery, Query()]


@router.get("/v1/marts", tags=["marts"])
def list_marts(_: Reader, service: Serving) -> list[dict[str, Any]]:
    """The marts with their columns, as dbt's YAML declares them.

    No two rows of one agree in `grain_columns`; without any, rows can be equal.
    """
    return [
        {**mart.described(), "rows_url": f"/v1/marts/{mart.name}"}
        for mart in service.marts.contracts().values()
    ]


@router.get("/v1/marts/{mart}", tags=["marts"], **_TABLE)
def mart_rows(mart: str, request: Request, query: _Rows, _: Reader, service: Serving) -> Response:
    """Rows of a mart.

    They come in a total order: what `order` leaves open is decided by the mart's key. NULL is less
    than every value; text is ordered by its characters' code points.
    """
    return service.marts.mart(mart, request, query)


@router.get("/v1/publications", tags=["marts"], **_TABLE)
def publications(request: Request, query: _Rows, _: Reader, service: Serving) -> Response:
    """What was published, the newest first: when, by whom, of which loads, what tests passed.

    `status=eq.current` is what the marts show. `loads` and `marts` are JSON in a text.
    """
    return service.marts.table(PUBLICATIONS, request, query)


@router.get("/v1/loads", tags=["loads"], **_TABLE)
def list_loads(request: Request, query: _Rows, _: Reader, service: Serving) -> Response:
    """The loads, the newest first."""
    return service.marts.table(LEDGER, request, query)


@router.get("/v1/rejected", tags=["loads"], **_TABLE)
def rejected(request: Request, query: _Rows, _: Reader, service: Serving) -> Response:
    """The lines of loads that could not be split, as they stand in the file: `load_id=eq.1`."""
    return service.marts.table(REJECTED, request, query)


# Health: alive, ready.


@router.get("/health/live", tags=["health"])
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready", tags=["health"])
def ready(service: Serving) -> dict[str, str]:
    """The database answers, else 503. Jobs wait while no worker is up."""
    return {"status": "ready", "worker": "up" if service.jobs.has_worker() else "down"}


# The dbt documentation, a single page that dbt writes. Its scripts, styles and pictures are inline;
# it is allowed nothing else.

_DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-scripts allow-popups"
)
_WRITING_DOCS = Lock()


@router.get("/dbt/", response_class=FileResponse, tags=["docs"])
def dbt_docs(_: Reader, service: Serving) -> FileResponse:
    """The documentation of the last build; the first to ask after one waits some seconds."""
    database = service.settings.database
    project = database.project
    page, built = project.target / "static_index.html", project.target / "run_results.json"
    with _WRITING_DOCS:
        if not page.exists() or (built.exists() and built.stat().st_mtime > page.stat().st_mtime):
            try:
                write_docs(project, database.profile)
            except BuildFailed as error:
                raise Problem(503, "no-docs", str(error), headers={"Retry-After": "30"}) from None
    headers = {"Content-Security-Policy": _DOCS_POLICY}
    return FileResponse(page, media_type="text/html", headers=headers)


# The page: only the files in the package's folder page/, whatever is requested. They are static and
# hold no data, so they need no token; the page gets its data from the API. All modules of a page
# have to be of one version: a browser revalidates them each time, by their ETags.

page_router = APIRouter(include_in_schema=False)
_PAGE = StaticFiles(directory=Path(__file__).with_name("page"))
# The system's own table may differ.
mimetypes.add_type("text/javascript", ".js")


@page_router.api_route("/", methods=["GET", "HEAD"])
@page_router.api_route("/assets/{name}", methods=["GET", "HEAD"])
async def page(request: Request, name: str = "index.html") -> Response:
    """The page, or a part of it."""
    return await _PAGE.get_response(name, request.scope)


router.include_router(page_router)


# The server.


def create_app(settings: Settings, tables: Tables) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # No request waits for a thread; it may wait for the database.
        to_thread.current_default_thread_limiter().total_tokens = _MOST_CONNECTIONS
        marts = Marts(settings.database)
        await to_thread.run_sync(marts.begin)
        app.state.service = Service(settings, tables, marts)
        worker = asyncio.create_task(keep_worker(settings)) if settings.worker else None
        try:
            yield
        finally:
            if worker is not None:
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
            marts.close()

    app = FastAPI(
        title="labmart",
        version=__version__,
        description="Upload a laboratory's files, follow their way into tested tables, ask those.",
        lifespan=lifespan,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        # A client that sends a body does not follow a redirect.
        redirect_slashes=False,
        responses={"default": DECLARED},
        exception_handlers=HANDLERS,
    )
    app.add_middleware(Guard, settings=settings)
    app.include_router(router)
    return app


@contextmanager
def listening(settings: Settings) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """A server, and the open port to run it on. Raises UsageError if others could reach it."""
    with prepared(settings, _DATABASE_CONNECTIONS) as tables:
        _check_tokens(settings, TokenStore(tables))
        config = uvicorn.Config(
            create_app(settings, tables),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        with _listen(settings) as listener:
            yield uvicorn.Server(config), listener


def serve(settings: Settings) -> None:
    """Serve until a signal comes. Raises as `listening` does."""
    with listening(settings) as (server, listener):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
        logging.getLogger("labmart").setLevel(logging.INFO)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"labmart listens at http://{shown}:{port}", file=sys.stderr, flush=True)
        server.run(sockets=[listener])


def _check_tokens(settings: Settings, tokens: TokenStore) -> None:
    if settings.token_file is not None:
        tokens.keep_file(settings.token_file)
    if settings.open_to_all or any(token.state == "valid" for token in tokens.all()):
        return
    why = "--require-token was given"
    if not is_loopback(settings.host):
        why = f"Others could reach a server that listens at {settings.host}"
    raise UsageError(
        f"{why}, and there is no token yet. Make one with `labmart token create --role admin "
        "--name NAME`."
    )


def _listen(settings: Settings) -> socket.socket:
    """Open the port now, so that an error is reported in our words."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = settings.host, settings.port
    try:
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        raise UsageError(
            f"The service cannot listen at {settings.host}, port {settings.port}: "
            f"{error.strerror or error}. Choose another one with --host and --port."
        ) from None
