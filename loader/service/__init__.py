"""The HTTP service: upload, follow, query. Needs the extra `service` and a PostgreSQL target.

The way of an upload: `app` lets it in when `access` knows the caller, `uploads` writes it to the
disk while it arrives, `jobs` keeps it as a row; `worker`, a process of its own, loads it as the
command does, runs dbt, and tells how it goes. `marts` gives the result out.

app           all addresses: uploads, jobs, marts, loads, health, documentation, page; the server
access        what a running server holds; who may do what; what happens to every request
uploads       what can be asked for; a body while it arrives, within limits; the spool that keeps it
jobs          settings; the service's own tables; what a job is; jobs from accepted to ended
worker        does the work of jobs, and is kept running
marts         the rows that a request asks for (loader.query), their formats and ETags
problems      errors as they are answered
page/         the page for people: static files, of which app.js is the map
"""

from __future__ import annotations
