"""The options that commands have in common, each declared once."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cim_domain.cli import completion

CONNECTION = "Connection"
OUTPUT = "Output"

LARGEST = 10**18 - 1
"""No sequence and no version is larger, and JSON of every kind still holds it."""

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        rich_help_panel=CONNECTION,
        help="The NATS server; several with commas. Without it: the configured one, or else the"
        " one that `cim-domain serve` runs in the data directory.",
    ),
]
DataDirectory = Annotated[
    Path | None,
    typer.Option(
        "--data-directory",
        metavar="DIR",
        rich_help_panel=CONNECTION,
        help="Where the embedded server and the views keep their data.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        rich_help_panel=CONNECTION,
        help="The configuration, in place of ./cim-domain.toml.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.01,
        max=3600,
        rich_help_panel=CONNECTION,
        help="How long an answer may take.",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=OUTPUT, help="Write JSON, and nothing else, to standard output."
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", rich_help_panel=OUTPUT, help="Show where an error comes from.")
]
Organization = Annotated[
    str | None,
    typer.Option(
        "--organization-id", metavar="ID", help="The organization on whose behalf this is done."
    ),
]
Actor = Annotated[
    str | None, typer.Option("--actor-id", metavar="ID", help="Who does this; your own word.")
]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        "--meta",
        metavar="NAME=VALUE",
        help="What else to say of it, as the header X-Meta-NAME; several times.",
    ),
]
DomainName = Annotated[
    str,
    typer.Argument(
        metavar="DOMAIN",
        help="The domain: its name, such as nix, or MODULE:ATTRIBUTE where it stands in your code.",
        autocompletion=completion.domains,
        show_default=False,
    ),
]
Domain = Annotated[
    str | None,
    typer.Option(
        "--domain",
        "-d",
        metavar="DOMAIN",
        help="The domain, for a short subject: its name, or MODULE:ATTRIBUTE.",
        autocompletion=completion.domains,
    ),
]
Payload = Annotated[
    str,
    typer.Argument(
        metavar="JSON",
        help="The message's own fields as a JSON object; - reads standard input, @FILE a file.",
    ),
]
CommandId = Annotated[
    UUID | None,
    typer.Option(metavar="UUID", help="The command's id; the same one again has no effect."),
]
ExpectedVersion = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=LARGEST,
        help="Refuse with a conflict unless the aggregate has N events.",
    ),
]
QueueSubject = Annotated[
    str,
    typer.Argument(
        metavar="SUBJECT",
        help="nix.cmd.flake.create or nix.submit.flake.create; or flake.create with --domain.",
        autocompletion=completion.subjects("cmd", "submit"),
    ),
]
StoredCommand = Annotated[
    UUID, typer.Argument(metavar="COMMAND_ID", help="The id that submit or schedule showed.")
]
AggregateName = Annotated[
    str,
    typer.Argument(
        metavar="AGGREGATE",
        help="Which kind of aggregate, such as flake.",
        autocompletion=completion.aggregates,
    ),
]
AggregateKey = Annotated[
    str,
    typer.Argument(metavar="KEY", help="Its key or its id; a key of several parts: a JSON array."),
]
