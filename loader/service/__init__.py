"""The HTTP service: upload, follow, query. Needs the extra `service` and a PostgreSQL target.

An upload passes through these modules: `app` accepts it if `access` knows the caller, `uploads`
writes it to disk as it arrives, `jobs` stores it as a row; `worker`, a separate process, loads it
as the command does, runs dbt, and reports progress. `marts` serves the result.

app           all routes: uploads, jobs, marts, loads, health, documentation, page; the server
access        what a running server holds; who may do what; what happens to every request
uploads       upload options; receiving a body within limits; the spool that stores it
jobs          settings; the service's own tables; jobs from accepted to ended
worker        does the work of jobs, and is kept running
marts         the rows that a request asks for (loader.query), their formats and ETags
problems      error responses
page/         the web page: static files; app.js gives an overview
"""

from __future__ import annotations
