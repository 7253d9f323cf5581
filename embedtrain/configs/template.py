"""A configuration file with every option of a command: what it does, what it takes, and its default."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

import embedtrain
from embedtrain.configs.describing import Option, options_of, takes_none, type_in_words
from embedtrain.configs.values import COMMAND_KEY
from embedtrain.errors import UserError

WIDTH = 100


def config_template(kind: type, *, command: str, summary: str, file: str) -> str:
    """The text of a commented YAML file.

    Required options stand first and without a value; every other key has its default.

    Args:
        kind: The dataclass of the command's options.
        command: As it is typed after ``embedtrain``.
        summary: What the command does.
        file: The name that the file will have, for the commands in its head.
    """
    options = options_of(kind)
    lines = [
        *_comment(f"embedtrain {command}: {summary}"),
        "#",
        *_comment(
            f"Every option with its default, as of version {embedtrain.__version__}. Those marked REQUIRED need a "
            "value; a line that stays as it is may as well go. Paths are relative to where the command is run."
        ),
        "#",
        f"#   embedtrain check {file}",
        f"#   embedtrain {command} --config {file}",
        "#",
        *_comment("Options on the command line, behind --config, take the place of those here."),
        "",
        f"{COMMAND_KEY}: {command}",
    ]
    required = [option for option in options if option.required]
    others = [option for option in options if not option.required and not option.parts]
    groups = [option for option in options if option.parts]
    for option in (*required, *others, *groups):
        lines += ["", *_lines(option)]
    return "\n".join(lines) + "\n"


def write_template(file: Any, text: str, *, force: bool) -> None:
    """Write a template.

    Args:
        file: A ``pathlib.Path``.
        text: See ``config_template``.
        force: Whether a file that is there already may be replaced.

    Raises:
        UserError: The file is there already, or cannot be written.
    """
    from embedtrain.files import write_text

    if file.is_dir():
        raise UserError(f"--output {file}: this is a folder, expected a file such as {file / 'config.yaml'}")
    if file.exists() and not force:
        raise UserError(f"--output {file}: this file is there already; --force replaces it, --output names another")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    except OSError as error:
        raise UserError(f"--output {file}: cannot write there ({error.strerror})") from None


def _lines(option: Option, indent: str = "") -> Iterator[str]:
    yield from _comment(option.help, indent)
    if option.parts:
        yield f"{indent}{option.key}:"
        for number, part in enumerate(option.parts):
            if number:
                yield ""
            yield from _lines(part, indent + "  ")
        return
    yield from _comment(_takes(option), indent)
    yield f"{indent}{option.key}: {'' if option.required else _as_yaml(option.default)}".rstrip()


def _takes(option: Option) -> str:
    words = type_in_words(option.hint)
    words = words[0].upper() + words[1:]
    if option.required:
        return f"REQUIRED. {words}."
    return f"{words}{', or null' if takes_none(option.hint) else ''}; default {_as_yaml(option.default)}"


def _as_yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000).strip()
    return text.removesuffix("...").strip()


def _comment(text: str, indent: str = "") -> Sequence[str]:
    prefix = f"{indent}# "
    return textwrap.wrap(
        text, WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_long_words=False, break_on_hyphens=False
    )
