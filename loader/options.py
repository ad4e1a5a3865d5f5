"""Command-line options, each with its environment variable.

Uploads use the same declarations of the load options (service/uploads).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader.sources import DURATIONS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from loader.load import LoadOptions

    _Options = TypeVar("_Options", bound=DataclassInstance)

# The options of a call as click passes them, named after the fields that they fill.
Given = dict[str, Any]
_F = TypeVar("_F", bound=Callable[..., object])


def option(name: str, *parameter: str, **attributes: object) -> Callable[[_F], _F]:
    """An option with its environment variable LABMART_<OPTION>, named after --on for --on/--off."""
    variable = "LABMART_" + name.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    settings: dict[str, Any] = {"envvar": variable, "show_envvar": True, **attributes}
    return click.option(name, *parameter, **settings)


def options(*added: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """A decorator that adds options shared by several subcommands, in this order."""

    def add(command: _F) -> _F:
        for declare in reversed(added):
            command = declare(command)
        return command

    return add


def comma_separated(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Parse comma-separated names."""
    return tuple(name.strip() for name in value.split(",")) if value else ()


def filled(kind: type[_Options], given: Given, **more: object) -> _Options:
    """An options object, filled from the given values that match its fields, and from `more`."""
    own = {field.name: given[field.name] for field in fields(kind) if field.name in given}
    return kind(**{**own, **more})


_SIGNS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


def _sign(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Parse one character, which may be given by name."""
    if value is None or (option.name == "quote" and value in ("", "none")):
        return value and ""
    sign = _SIGNS.get(value.lower(), value)
    if len(sign) != 1 or sign in "\r\n\0":
        raise click.BadParameter(f"{value!r} is not one character.", param_hint=option.opts[0])
    return sign


def _max_rejected(_: click.Context, option: click.Parameter, value: str | None) -> Any:
    from loader.load import MaxRejected

    try:
        return None if value is None else MaxRejected.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option.opts[0]) from None


loading_options = options(
    option("--replace", is_flag=True, help="Replace what was loaded into the same inputs before."),
    option("--allow-empty", is_flag=True, help="Allow --replace by files without records."),
    option(
        "--max-rejected",
        callback=_max_rejected,
        metavar="N or N%",
        help="How many lines of a file may be rejected before nothing is loaded; default: 10%. "
        "`labmart load --check` also counts the rows that the models would reject.",
    ),
    option("--exclude", multiple=True, metavar="PATTERN", help="Leave out files with such names."),
    option("--input", help="Load the files into this input, whatever else they could be."),
    option("--encoding", help="Encoding of text files, such as utf-8 or windows-1252."),
    option(
        "--delimiter",
        callback=_sign,
        help="Separator of cells in text files: one character, or tab, space.",
    ),
    option("--quote", callback=_sign, help="Quotation mark around cells in text files, or none."),
    option(
        "--columns",
        callback=comma_separated,
        # LABMART_COLUMNS belongs to `labmart show`.
        envvar="LABMART_FILE_COLUMNS",
        metavar="NAME,NAME…",
        help="Columns of text files and sheets without a header; an empty name skips a column.",
    ),
    option(
        "--map",
        "names",
        multiple=True,
        metavar="NAME=COLUMN",
        help="Which column a name in the header means: --map duration_min=experiment_run_time.",
    ),
    option("--sheet", help="Sheet of a workbook; default: every sheet with a header."),
    option(
        "--decimal",
        type=click.Choice(["comma", "point"]),
        help="Decimal mark of numbers; the other mark may group thousands.",
    ),
    option(
        "--dates",
        type=click.Choice(["DMY", "MDY", "YMD"], case_sensitive=False),
        help="Order of day, month and year in dates; dates like 2024-01-31 need none.",
    ),
    option(
        "--list-separator", callback=_sign, help="Separator of the ids in a list: one character."
    ),
    option(
        "--id-prefix",
        metavar="PREFIX,PREFIX…",
        help="What ids may begin with before their digits, such as EXP- in EXP-0012.",
    ),
    option(
        "--durations",
        type=click.Choice(DURATIONS),
        metavar="UNIT",
        help="Unit to read durations in (0:34:59, 35 min, 1h5m, PT35M): s, min or h. For 26:15 "
        "also say which it is: min,h:mm or min,m:ss.",
    ),
)


def load_options(given: Given, *, check: bool = False) -> LoadOptions:
    """The LoadOptions from the given options. Raises click.UsageError."""
    from loader.load import LoadOptions
    from loader.sources import ReadOptions

    try:
        read = filled(ReadOptions, given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    # `names` from --map is for reading; LoadOptions.names is something else.
    return filled(LoadOptions, given, check=check, read=read, names={})
