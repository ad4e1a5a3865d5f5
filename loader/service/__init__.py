"""The HTTP service: upload, follow, query. Needs the extra `service` and a PostgreSQL target.

app           puts everything together; serve starts it
settings      what a server is started with
context       what the parts of a running server share
guard         what happens to every request: host and origin, headers, log, metrics
auth          who calls, and may they; tokens keeps the tokens, throttle limits rates
problems      errors as problem details (RFC 9457)
model         the shapes of requests and answers
routes/       one module per group of addresses
multipart     files out of a body while it arrives; receive writes them to disk

database      connections, and schema: the service's own tables
jobs          jobs and their events, in the database
queue         in which order jobs are worked on (procrastinate)
events        server-sent events
worker        takes jobs from the queue, one at a time
runner        the process that does a job's work; reporting tells how it goes
"""

from __future__ import annotations
