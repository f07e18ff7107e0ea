"""Options that many commands share, and how their values are read."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from .failures import CommandError, ExitCode

T = TypeVar("T")

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="ODRADEK_ADDRESS",
        metavar="URL",
        help="http://host:port of `odradek dev`, kafka://host:port, or file:./folder. Without it: http://127.0.0.1:7233.",
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", envvar="ODRADEK_NAMESPACE", metavar="NAME")]
TaskQueue = Annotated[str, typer.Option("--task-queue", "-q", envvar="ODRADEK_TASK_QUEUE", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, also errors (on stderr).")]
RunId = Annotated[str, typer.Option("--run-id", metavar="ID", help="A run. Without it: the latest.")]
WorkflowId = Annotated[str, typer.Argument(metavar="WORKFLOW_ID")]
RequestId = Annotated[str, typer.Option(metavar="ID", help="Makes a repeated command take effect once.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept, for people to read.")]
AnswerTimeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long to wait for an answer.")
]
Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        metavar="JSON",
        help="An argument, as JSON, or @file; repeat it for several. A text is '\"Ada\"', with both quotes.",
    ),
]
LogLevel = Annotated[str, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")]
LogFormat = Annotated[str, typer.Option("--log-format", metavar="FORMAT", help="text or json, on stderr.")]
KafkaOptions = Annotated[
    list[str],
    typer.Option(
        "--kafka-option",
        metavar="NAME=VALUE",
        help="A setting of librdkafka, such as security.protocol=SASL_SSL; repeat it for several.",
    ),
]


def read_inputs(values: list[str]) -> list[Any]:
    """The arguments that --input gives."""
    return [read_json("--input", value) for value in values]


def read_json(option: str, text: str) -> Any:
    """The JSON value of an option; `@file` reads a file, `@-` what comes in. Raises CommandError if it is none."""
    source = option
    if text.startswith("@"):
        source = f"{option} {text}"
        try:
            text = sys.stdin.read() if text == "@-" else Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(ExitCode.USAGE, f"{source}: {error}") from None
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except ValueError as error:
        shown = text if len(text) <= 80 else f"{text[:79]}…"
        bare = text.strip().replace("_", "").replace("-", "").isalnum()
        hint = f"A text needs JSON's quotes inside the shell's: {option} '\"{text.strip()}\"'" if bare else ""
        hint = hint or f"An object looks like this: {option} '{{\"id\": 1}}'; from a file: {option} @order.json"
        raise CommandError(ExitCode.USAGE, f"{source} is not JSON: {shown} ({error})", hint) from None


def _no_number(text: str) -> Any:
    """For what Python's JSON takes and nobody else's: it would arrive as null."""
    raise ValueError(f"there is no {text} in JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def read_fields(fields: dict[str, Any], kind: type[T], hint: str = "") -> T:
    """What the options of a command ask for. Raises CommandError, with `hint`, for what `kind` does not take."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise CommandError(ExitCode.USAGE, str(error), hint) from None


def kafka_settings(target: str, options: list[str]) -> dict[str, Any]:
    """Settings for the log from --kafka-option. Raises CommandError for what is no setting, or no Kafka."""
    if not options:
        return {}
    if not target.startswith("kafka://"):
        raise CommandError(ExitCode.USAGE, f"--kafka-option is for kafka:// addresses, not for {target}")
    config: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise CommandError(ExitCode.USAGE, f"--kafka-option {option}: write NAME=VALUE")
        config[name] = value
    return {"config": config}
