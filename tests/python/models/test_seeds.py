"""Files in seeds/ that dbt would read wrongly or not at all are refused, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.in_process import labmart

from loader.build import check_seeds
from loader.errors import ConfigError, FilesRefused

DECLARATION = """
seeds:
  - name: users
    columns:
      - name: user_id
      - name: name
  - name: compounds
    columns:
      - name: compound_id
"""


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """A seeds directory whose files are all right."""
    folder = tmp_path / "seeds"
    folder.mkdir()
    (folder / "_seeds.yml").write_text(DECLARATION)
    (folder / "users.csv").write_text("user_id,name\n1,Ada\n")
    (folder / "compounds.csv").write_text("compound_id\n1\n")
    return folder


@pytest.mark.parametrize(
    "content",
    [
        b"user_id,name\n",
        b"user_id,name\n1,Ada",
        b"\xef\xbb\xbfuser_id,name\r\n1,Ada\r\n",
        b'user_id,name\n1,"Ada ""Lady"" L,\nsecond line"\n\n2,x\n',
        b"name,extra,user_id\nAda,,1\n",
        "user_id,name\n1,Ådä 🧪\n".encode(),
    ],
)
def test_what_dbt_reads_whole_is_let_through(seeds: Path, content: bytes) -> None:
    (seeds / "users.csv").write_bytes(content)
    check_seeds(seeds)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"",
            "users.csv, line 1: it reads '', and it must name user_id, name, separated by commas.",
        ),
        (b"user_id\n1\n", "users.csv, line 1: it reads 'user_id', and"),
        (b"user_id\tname\n1\tAda\n", "users.csv, line 1: it reads 'user_id\\tname', and"),
        (b"user_id,name,purity %\n1,a,b\n", "users.csv, line 1: a name must not hold %"),
        (
            b"user_id,name,name\n1,a,b\n",
            "users.csv, line 1: a column stands there twice: user_id, name, name.",
        ),
        (b"user_id,name\n1,Ada\n2\n", "users.csv, line 3: 1 cells instead of 2."),
        (b'user_id,name\n1,"a\nb"\n2,b,c\n', "users.csv, line 4: 3 cells instead of 2."),
        (b'user_id,name\n1,"Ada\n2,Ida\n', "users.csv, line 2: a quotation mark is not closed"),
        (b'user_id,name\n1,"Ada"x\n', "line 2: a quotation mark is not closed, or not at the end"),
        (b"user_id,name\n1,A\xffda\n", "users.csv: it is not UTF-8 (byte 0xff)."),
        (b"user_id,name\n1,A\0da\n", "users.csv, line 2: a NUL byte"),
        (b"user_id,name\n1," + b"x" * 200_000 + b"\n", "field larger than field limit (131072)"),
    ],
)
def test_what_dbt_would_read_wrongly_is_refused(seeds: Path, content: bytes, problem: str) -> None:
    (seeds / "users.csv").write_bytes(content)
    with pytest.raises(FilesRefused) as refused:
        check_seeds(seeds)
    assert problem in str(refused.value)
    assert len(refused.value.problems) == 1


def test_every_problem_of_every_file_is_told(seeds: Path) -> None:
    (seeds / "users.csv").write_text("user_id,name\n" + "1\n" * 8)
    (seeds / "compounds.csv").unlink()
    with pytest.raises(FilesRefused) as refused:
        check_seeds(seeds)
    assert len(refused.value.problems) == 6
    assert refused.value.problems[-1].startswith("seeds/compounds.csv: it cannot be read: No such")


def test_a_declaration_without_seeds_is_named(seeds: Path) -> None:
    (seeds / "_seeds.yml").write_text("models: []\n")
    with pytest.raises(ConfigError, match=r"_seeds\.yml: it has no list"):
        check_seeds(seeds)


@pytest.mark.slow
def test_a_refused_seed_ends_with_3_before_anything_is_built(project_copy: Path) -> None:
    (project_copy / "seeds" / "raw_users.csv").write_text("")
    done = labmart(project_copy, "run")
    assert (done.code, done.out) == (3, "")
    assert "seeds/raw_users.csv, line 1: it reads ''" in done.err
    assert not (project_copy / "target").exists()
