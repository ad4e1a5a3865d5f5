"""The HTTP service: upload, follow, query. Needs the extra `service` and a PostgreSQL target.

The way of an upload: `routes` lets it in when `access` knows the caller, `uploads` writes it to the
disk while it arrives, `jobs` keeps it as a row; `worker`, a process of its own, loads it as the
command does, runs dbt, and tells how it goes. `marts` gives the result out.

app           puts everything together and serves
access        what a running server holds; who may do what; what happens to every request
routes        all addresses: uploads, jobs, marts, loads, health, documentation, page
model         the shapes of requests and answers, the options of a load among them
problems      errors as problem details (RFC 9457)
uploads       a body while it arrives, within limits; the spool that keeps it until it is loaded
database      what a server or worker is started with; the service's own tables
jobs          jobs and their events: accepted, claimed, ended
worker        does the work of jobs, and is kept running
marts         the rows that a request asks for (loader.query), their formats and ETags
page/         the page for people: static files, of which app.js is the map
"""

from __future__ import annotations
