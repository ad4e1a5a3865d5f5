"""Records out of files: what a file is, where its header stands, and how its lines are split.

recognise      what a file is, told by its content alone: one parser, or one for each sheet
records        what every parser is and gives: batches of CSV for COPY, and rejected lines
delimited      delimited text: records, each part under its own header
encoding       which encoding a text has, or which guess has no rival; decoding
dialect        which delimiter a text has: the one that its header needs
splitter       where a line, a cell and a record end: the definition, and its fast path
json_lines     JSON lines
sheets         tables that come split into cells, into batches
workbooks      xlsx, ods, xls in a child process with limits (workbook_child)
parquet        Parquet

A parser never looks at what cells mean, but for the ids that tell a record from a header. Every
record ends up in exactly one place: in the text of a Batch, or among its rejected lines.
"""
