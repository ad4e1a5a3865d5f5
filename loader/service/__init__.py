"""The HTTP service: upload, follow, query. Needs the extra `service` and a PostgreSQL target.

app           puts everything together; serve starts it
settings      what a server is started with
context       what the parts of a running server share
guard         what happens to every request: host and origin, headers, log, metrics
auth          who calls, and may they; tokens keeps the tokens, throttle limits rates
problems      errors as problem details (RFC 9457)
model         the shapes of requests and answers
metrics       what Prometheus is told
routes/       one module per group of addresses
page/         the page for people: static files, of which app.js is the map
receive       a body while it arrives, within limits; multipart splits it, spool keeps it on disk

database      connections, and schema: the service's own tables
jobs          jobs and their events, as the server sees them
events        server-sent events
queue         in which order jobs are worked on (procrastinate)

supervisor    keeps a worker running beside the server
worker        takes tasks from the queue, one at a time; reconcile mends what kills have left
runner        the process that does a job's work
journal       what it writes about the job; reporting how load and dbt go
"""

from __future__ import annotations
