"""The tables that can be asked for, of a running server."""

from __future__ import annotations

import logging
from pathlib import Path

from loader.contract import Contract, mart_contracts, raw_contract
from loader.database import Database
from loader.errors import LabmartError, UnknownMart
from loader.roles import set_up_roles
from loader.service.query.answer import Answer, Request, Table, answer
from loader.service.query.parameters import Filter
from loader.service.query.readers import Readers
from loader.service.query.version import Versions
from loader.sources import LEDGER, REJECTED

_LOG = logging.getLogger("labmart.service")
# Parameters of the list of loads that mean equality without saying so.
_PLAIN = ("status", "input")


class Tables:
    """Marts, ledger and rejected lines: what is declared of them, and their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = database.profile.schema
        self._readers = Readers(database)
        self._versions = Versions()
        self._read: tuple[tuple[object, ...], dict[str, Contract], dict[str, Contract]] | None
        self._read = None

    def begin(self) -> None:
        """Make the reading role on the embedded server, where nobody else would."""
        if self._database.embedded is None:
            return
        try:
            set_up_roles(self._database)
        except LabmartError as error:
            _LOG.warning("Queries run read-only, but with all rights to read: %s", error)

    def close(self) -> None:
        """Close the connections."""
        self._readers.close()

    def marts(self) -> dict[str, Contract]:
        """The marts by name, in the order of the YAML, as it stands now."""
        return self._contracts()[0]

    def mart(self, name: str, request: Request) -> Answer:
        """Rows of a mart. Raises UnknownMart, and what `answer` raises."""
        contract = self.marts().get(name)
        if contract is None:
            raise UnknownMart(name, list(self.marts()))
        return self._answer(Table(self._schema, contract), request)

    def loads(self, request: Request, load_id: int | None = None) -> Answer:
        """Rows of the ledger, the newest first; with a number that of this load."""
        contract = self._contracts()[1][LEDGER]
        return self._answer(
            Table(
                self._database.profile.raw_schema,
                contract,
                swapped=False,
                fixed=_of_load(contract, load_id),
                plain=_PLAIN,
                default_order="-load_id",
            ),
            request,
        )

    def rejected(self, request: Request, load_id: int) -> Answer:
        """The lines of a load that could not be split."""
        contract = self._contracts()[1][REJECTED]
        return self._answer(
            Table(
                self._database.profile.raw_schema,
                contract,
                swapped=False,
                fixed=_of_load(contract, load_id),
                file_name=f"rejected_lines_of_load_{load_id}",
            ),
            request,
        )

    def _answer(self, table: Table, request: Request) -> Answer:
        return answer(table, request, self._readers, self._versions)

    def _contracts(self) -> tuple[dict[str, Contract], dict[str, Contract]]:
        """What the YAML declares; it is read again when a file has changed."""
        project = self._database.project
        files = (project.marts_file, project.sources_file, *project.root.glob("models/**/*.md"))
        state = tuple(_state(file) for file in files)
        if self._read is None or self._read[0] != state:
            raw = {name: raw_contract(project, name) for name in (LEDGER, REJECTED)}
            self._read = (state, mart_contracts(project), raw)
        return self._read[1:]


def _of_load(contract: Contract, load_id: int | None) -> tuple[Filter, ...]:
    column = contract.column("load_id")
    return () if load_id is None or column is None else (Filter(column, "eq", (load_id,)),)


def _state(file: Path) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), found.st_mtime_ns, found.st_size
