"""The command ``squeezedet models``: the published weights, and which of them are on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from opencv_squeezedet import registry
from opencv_squeezedet.cli.arguments import positive_number
from opencv_squeezedet.cli.errors import EXIT_SOME_FAILED, CommandError, usage_errors
from opencv_squeezedet.cli.parser import CommandParser
from opencv_squeezedet.cli.terminal import complain, print_table, shown
from opencv_squeezedet.errors import FetchError, reason
from opencv_squeezedet.registry import Entry

DESCRIPTION = f"""List, fetch and verify published weights. Their names are models for every command and for Python, as in
detect --model gsoc-voc and sd.SqueezeDet("gsoc-voc").

actions:
  list    print all names, and whether each is on this machine
  info    print all details of each NAME
  fetch   download each NAME if necessary, verify it, and print its path
  verify  verify all fetched weights, or each NAME
  path    print the path of each NAME if it is fetched and intact

Fetched files are kept in the user's cache folder, or in the folder that {registry.CACHE} names.
They come from the published addresses, or from the URL or folder that {registry.MIRROR} names."""
USAGE = "ACTION [NAME ...] [options]"
EXAMPLE = "fetch gsoc-voc"
_ACTIONS = {"list": (0, 0), "info": (1, None), "fetch": (1, None), "verify": (0, None), "path": (1, None)}
"""How many names each takes, at least and at most."""


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=_ACTIONS, help=", ".join(_ACTIONS))
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(registry.names()))
    parser.add_argument("--cache", metavar="DIR", help="cache folder to use instead")
    parser.add_argument(
        "--timeout",
        type=positive_number,
        default=30.0,
        metavar="SECONDS",
        help="time to wait for a server that sends nothing (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace) -> int:
    least, most = _ACTIONS[args.action]
    if len(args.names) < least or (most is not None and len(args.names) > most):
        raise CommandError(f"{args.action} takes {'no' if most == 0 else 'at least one'} NAME (see {args.program} --help)")
    with usage_errors():
        entries = [registry.find_entry(name) for name in args.names or registry.names()]
    failed = False
    records = []
    for entry in entries:
        record, problem = _look(entry, args)
        if problem is not None:
            complain(args.program, problem)
            failed = True
        if problem is None or args.action == "verify":
            records.append(record)
    if args.json:
        print(json.dumps(records, indent=1))
    else:
        _print(args.action, records)
    return EXIT_SOME_FAILED if failed else 0


def _look(entry: Entry, args: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    """Return the record of weights after the action, and the problem that prevented the action, or None."""
    problem = None
    if args.action == "fetch":
        try:
            registry.fetch(entry.name, cache=args.cache, timeout=args.timeout)
        except FetchError as error:
            problem = reason(error)
    record = {**dataclasses.asdict(entry), "state": entry.state(args.cache), "path": _path(entry, args.cache)}
    wanted = args.action == "path" or (args.action == "verify" and args.names)
    if record["state"] == "damaged" and args.action in ("path", "verify"):
        problem = f"{record['path']}: {entry.problem(entry.path(args.cache))}"
    elif record["state"] == "not fetched" and wanted:
        problem = f"{entry.name} is not fetched: run squeezedet models fetch {entry.name}"
    return record, problem


def _path(entry: Entry, cache: str | None) -> str | None:
    try:
        return str(entry.path(cache))
    except ImportError:
        return None


def _print(action: str, records: list[dict[str, Any]]) -> None:
    if action in ("list", "verify"):
        keys = ["name", "task", "state", "what"] if action == "list" else ["name", "state", "path"]
        print_table(keys, [[record[key] or "" for key in keys] for record in records])
    elif action in ("fetch", "path"):
        print(*(record["path"] for record in records), sep="\n", end="\n" if records else "")
    else:
        print("\n\n".join("\n".join(_details(record)) for record in records))


def _details(record: dict[str, Any]) -> Iterator[str]:
    for key, value in record.items():
        if value not in (None, ()):
            text = " ".join(value) if isinstance(value, tuple) else value if isinstance(value, str) else json.dumps(value)
            yield f"{key:<13} {shown(text)}"
