"""Reading tables over HTTP: the marts, the ledger, the rejected lines, all by one machinery.

values      a value of a request as its column's type has it
parameters  the query of a request, checked against the contract
cursor      where a page ended, as text
statements  a query as SQL
formats     which format is asked for, and the bytes of each
columnar    Parquet and Arrow
version     what an ETag is made of
readers     connections that can read and nothing else
answer      a query answered: all of it together
"""

from __future__ import annotations
