"""The reference of the command line, from the signatures and docstrings of the commands."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from typer.models import ArgumentInfo

from asa import cli, errors

INTRODUCTION = """\
# Command line

Made from the program itself; `asa COMMAND --help` shows the same. An error is one message on standard error and an exit
code; `--debug`, anywhere on the line, adds where it came from.
"""


class Parameter(NamedTuple):
    """An argument or an option of a command."""

    names: tuple[str, ...]
    is_argument: bool
    kind: Any
    many: bool
    default: Any
    info: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def commands() -> dict[str, Callable[..., Any]]:
    """Name -> function of every command."""
    names = sorted(module.name for module in pkgutil.iter_modules(cli.__path__) if not module.name.startswith("_"))
    return {name: importlib.import_module(f"{cli.__name__}.{name}").command for name in names}


def parameters(command: Callable[..., Any]) -> list[Parameter]:
    """The arguments and options of a command, in their order."""
    hints = typing.get_type_hints(command, include_extras=True)
    found = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(one for one in typing.get_args(kind) if one is not type(None))
        many = typing.get_origin(kind) is list
        kind = typing.get_args(kind)[0] if many else kind
        is_argument = isinstance(info, ArgumentInfo)
        flag = f"--{name.replace('_', '-')}"
        # in Annotated the first name stands where a default would
        given = [
            one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str) and one.startswith("-")
        ]
        names = tuple(given) or ((flag, f"--no{flag[1:]}") if kind is bool else (flag,))
        found.append(Parameter((name,) if is_argument else names, is_argument, kind, many, parameter.default, info))
    return found


def page() -> str:
    """The page in Markdown."""
    found = commands()
    summary = ["| command | what it does |", "|---|---|"]
    summary += [f"| [`asa {name}`](#asa-{name}) | {first(one)} |" for name, one in found.items()]
    sections = (section(name, one) for name, one in found.items())
    return "\n\n".join([INTRODUCTION, "\n".join(summary), *sections, exit_codes()]) + "\n"


def section(name: str, command: Callable[..., Any]) -> str:
    """One command: usage, text, arguments and options."""
    every = parameters(command)
    arguments = [one for one in every if one.is_argument]
    options = [one for one in every if not one.is_argument and not one.info.hidden]
    usage = " ".join([f"asa {name}", "[OPTIONS]", *(placeholder(one) for one in arguments)])
    lines = [f"## asa {name}", f"```text\n{usage}\n```", prose(inspect.getdoc(command) or "")]
    if arguments:
        rows = [f"| `{placeholder(one)}` | {cell(one.info.help)} |" for one in arguments]
        lines.append("\n".join(["| argument | meaning |", "|---|---|", *rows]))
    if options:
        lines.append("\n".join(["| option | meaning | default |", "|---|---|---|", *(row(one) for one in options)]))
    return "\n\n".join(lines)


def placeholder(argument: Parameter) -> str:
    """How the usage line names an argument."""
    name = (argument.info.metavar or argument.names[0].upper()) + ("..." if argument.many else "")
    return name if argument.required else f"[{name}]"


def row(option: Parameter) -> str:
    """A row of the table of options."""
    flags = [flag for name in option.names for flag in name.split("/")]
    names = " ".join(f"`{flag}`" for flag in flags)
    if option.kind is not bool:
        names += f" *{option.info.metavar or kind_name(option.kind)}*"
    text = cell(option.info.help)
    repeated = " May be repeated." if option.many and "repeated" not in text else ""
    return f"| {names} | {text}{repeated} | {default(option, flags)} |"


def kind_name(kind: Any) -> str:
    """What an option takes, in a word."""
    return {Path: "path", str: "text", int: "integer", float: "number"}.get(kind, getattr(kind, "__name__", str(kind)))


def default(option: Parameter, flags: list[str]) -> str:
    """The value of an option that is not given."""
    if option.required:
        return "required"
    if option.default is True:
        return f"`{flags[0]}`"
    if option.default in (None, False, "", (), []):
        return ""
    return f"`{getattr(option.default, 'value', option.default)}`"


def cell(text: str | None) -> str:
    """Text for a cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def prose(text: str) -> str:
    """Help as paragraphs, examples as one block of code."""
    paragraphs: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "")):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        if lines and all(line.startswith("asa ") for line in lines):
            if paragraphs and paragraphs[-1].startswith("```"):
                lines = [*paragraphs.pop().splitlines()[1:-1], *lines]
            paragraphs.append("\n".join(["```bash", *lines, "```"]))
        elif lines:
            paragraphs.append(" ".join(lines).replace("<", "&lt;"))
    return "\n\n".join(paragraphs)


def first(command: Callable[..., Any]) -> str:
    """The first paragraph of a command's docstring."""
    return cell(re.split(r"\n\s*\n", inspect.getdoc(command) or "")[0])


def exit_codes() -> str:
    """What the exit codes mean, from the errors."""
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.AsaError)]
    meaning = {0: "Done.", 1: "Any other error; of several heads, some failed.", 2: "The command line itself is wrong."}
    meaning |= {
        one.exit_code: cell((inspect.getdoc(one) or "").splitlines()[0]) for one in kinds if one is not errors.AsaError
    }
    rows = [f"| {code} | {text} |" for code, text in sorted(meaning.items())]
    return "\n".join(["## Exit codes", "", "| code | meaning |", "|---|---|", *rows])
