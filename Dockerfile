# labmart and its service in a container: `docker compose up` (see docker-compose.yml), or alone:
#
#     docker build -t labmart .
#     docker run --read-only --tmpfs /tmp --tmpfs /app/logs:uid=10001 -v labmart:/app/.labmart \
#       -v labmart-target:/app/target -e PGHOST=… -e PGPASSWORD_FILE=… -e LABMART_TOKEN_FILE=… \
#       labmart
#
# The container holds no secret. It writes to /app/.labmart (uploads, locks), /app/target (what dbt
# writes), /app/logs and /tmp alone, as a user without a name or rights.

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv /opt/labmart
COPY requirements/run.txt requirements/service.txt requirements/
# Wheels alone: nothing is compiled and nothing of a package runs while it is installed.
RUN /opt/labmart/bin/pip install --require-hashes --no-deps --only-binary :all: \
        -r requirements/run.txt \
    && /opt/labmart/bin/pip install --require-hashes --no-deps --only-binary :all: \
        -r requirements/service.txt
COPY pyproject.toml setup.py labmart.py README.md LICENSE dbt_project.yml profiles.yml.example ./
COPY loader loader
COPY macros macros
COPY models models
COPY seeds seeds
COPY tests tests
# Everything of Python is compiled now, since nothing can be written later.
RUN cp profiles.yml.example profiles.yml \
    && /opt/labmart/bin/pip install --no-deps --no-build-isolation --editable . \
    && /opt/labmart/bin/python -m compileall -q loader \
    && mkdir -p .labmart/tmp target logs \
    && chmod -R a+rX,go-w . \
    && chown -R 10001:10001 .labmart target logs \
    && chmod 700 .labmart

FROM python:3.13-slim-trixie
COPY --from=build /opt/labmart /opt/labmart
COPY --from=build /app /app
# Python cannot write its caches, and dbt shall not look for newer versions of itself. Answers on
# their way to a client are files; /tmp would keep them in memory.
ENV PATH=/opt/labmart/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    HOME=/tmp \
    TMPDIR=/app/.labmart/tmp \
    LABMART_PROJECT_DIR=/app
WORKDIR /app
USER 10001:10001
VOLUME ["/app/.labmart", "/app/target"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; \
        urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
ENTRYPOINT ["labmart"]
CMD ["serve", "--host", "0.0.0.0"]
