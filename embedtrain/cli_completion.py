"""``embedtrain completion``: what a shell needs to complete commands, options and the values that are known."""

import importlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from embedtrain.arguments import OWN_FLAGS
from embedtrain.cli_evaluate import SUBCOMMANDS
from embedtrain.configs.commands import COMMANDS
from embedtrain.configs.describing import Option, every_option, options_of, without_none
from embedtrain.errors import UserError, did_you_mean

SHELLS = ("bash", "zsh", "fish")
INSTALLING = {
    "bash": "embedtrain completion bash > ~/.local/share/bash-completion/completions/embedtrain",
    "zsh": "embedtrain completion zsh > ~/.zfunc/_embedtrain    # with ~/.zfunc in fpath, before compinit",
    "fish": "embedtrain completion fish > ~/.config/fish/completions/embedtrain.fish",
}
# The commands that take no configuration file: module and class of their options.
_OTHERS = {
    "mteb export": ("embedtrain.pipelines.evaluate.mteb_options", "ExportOptions"),
    "report": ("embedtrain.pipelines.report.options", "ReportOptions"),
    "export": ("embedtrain.pipelines.export.options", "ExportOptions"),
    "doctor": ("embedtrain.pipelines.doctor.options", "DoctorOptions"),
    "init": ("embedtrain.cli_start", "InitOptions"),
    "check": ("embedtrain.configs.checking", "CheckOptions"),
    "audit": ("embedtrain.pipelines.audit.options", "AuditOptions"),
}


@dataclass(frozen=True)
class Flag:
    """One option as a shell sees it: how it is spelt, the values that are known, and whether it takes any."""

    name: str
    values: list[str]
    is_switch: bool = False


def completion(arguments: Sequence[str], *, summaries: Mapping[str, str]) -> str:
    """The text for a shell.

    Args:
        arguments: As after ``completion`` on the command line: the shell's name.
        summaries: What each command of the command line does.

    Raises:
        UserError: No shell is named, or one that is not known.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = "\n".join(f"  {line}" for line in INSTALLING.values())
        return f"usage: embedtrain completion {{{','.join(SHELLS)}}}\n\n{summaries['completion']}\n\n{lines}"
    shell, *more = arguments
    if shell not in SHELLS or more:
        found = " ".join(arguments)
        raise UserError(f"unknown shell '{found}'{did_you_mean(found, SHELLS)}; expected: {', '.join(SHELLS)}")
    flags = {name: _flags(name) for name in _names(summaries)}
    seconds = _second_words(list(flags))
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return write(summaries, seconds, flags)


def _names(summaries: Mapping[str, str]) -> list[str]:
    """Every command with its second word, if it has one."""
    known = [*COMMANDS, *_OTHERS, *(f"evaluate {kind}" for kind in SUBCOMMANDS)]
    families = {name.split()[0] for name in known if " " in name}
    return list(dict.fromkeys([*known, *(name for name in summaries if name not in families)]))


def _second_words(names: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for first, second in (name.split() for name in names if " " in name):
        found.setdefault(first, []).append(second)
    return {**found, "init": list(dict.fromkeys(name.split()[0] for name in COMMANDS)), "completion": list(SHELLS)}


def _flags(name: str) -> list[Flag]:
    if name in COMMANDS:
        kind = COMMANDS[name].options
    elif name in _OTHERS:
        module, attribute = _OTHERS[name]
        kind = getattr(importlib.import_module(module), attribute)
    else:
        kind = None
    options = [] if kind is None else [option for option in every_option(options_of(kind)) if not option.parts]
    own = [Flag(f"--{flag.replace('_', '-')}", [], flag != "config") for flag in OWN_FLAGS if kind or flag == "help"]
    return [*(_flag(option) for option in options), *own]


def _flag(option: Option) -> Flag:
    hint = without_none(option.hint)
    inner = get_args(hint)[0] if get_origin(hint) is list else hint
    values = list(map(str, get_args(inner))) if get_origin(inner) is Literal else []
    return Flag(f"--{option.name.replace('_', '-')}", values, hint is bool)


def _cases(flags: Mapping[str, Sequence[Flag]], *, assign: str) -> tuple[str, str]:
    """Lines of two ``case`` statements: the options of a command, and the values of an option."""
    spelt = {name: " ".join(flag.name for flag in of) for name, of in flags.items()}
    options = [f'        "{name}") {assign.format(words)} ;;' for name, words in spelt.items()]
    values = [
        f'        "{name} {flag.name}") {assign.format(" ".join(flag.values))} ;;'
        for name, of in flags.items()
        for flag in of
        if flag.values
    ]
    return "\n".join(options), "\n".join(values)


def _seconds_case(seconds: Mapping[str, Sequence[str]], *, assign: str) -> str:
    return "\n".join(f'        "{first}") {assign.format(" ".join(words))} ;;' for first, words in seconds.items())


def _bash(summaries: Mapping[str, str], seconds: Mapping[str, Sequence[str]], flags: Mapping[str, list[Flag]]) -> str:
    options, values = _cases(flags, assign="found='{}'")
    families = "|".join(first for first in seconds if first not in flags)
    return f"""# bash completion of embedtrain: {INSTALLING["bash"]}
_embedtrain() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" name="${{COMP_WORDS[1]}}" option="" found="" at
    case "$name" in
        {families}) name="$name ${{COMP_WORDS[2]}}" ;;
    esac
    for ((at = COMP_CWORD - 1; at > 1; at--)); do
        if [[ "${{COMP_WORDS[at]}}" == --* ]]; then option="${{COMP_WORDS[at]}}"; break; fi
    done
    if ((COMP_CWORD == 1)); then
        found='{" ".join([*summaries, "--help", "--version"])}'
    elif ((COMP_CWORD == 2)) && [[ "$current" != -* ]]; then
        case "${{COMP_WORDS[1]}}" in
{_seconds_case(seconds, assign="found='{}'")}
        esac
    elif [[ "$current" == -* ]]; then
        case "$name" in
{options}
        esac
    else
        case "$name $option" in
{values}
        esac
    fi
    COMPREPLY=($(compgen -W "$found" -- "$current"))
}}
complete -o default -F _embedtrain embedtrain"""


def _zsh(summaries: Mapping[str, str], seconds: Mapping[str, Sequence[str]], flags: Mapping[str, list[Flag]]) -> str:
    options, values = _cases(flags, assign="found=({})")
    families = "|".join(first for first in seconds if first not in flags)
    commands = " ".join(shlex.quote(f"{name}:{text.replace(':', '')}") for name, text in summaries.items())
    return f"""#compdef embedtrain
# zsh completion of embedtrain: {INSTALLING["zsh"]}
_embedtrain() {{
    local current="${{words[CURRENT]}}" name="${{words[2]}}" option="" at
    local -a found
    case "$name" in
        {families}) name="$name ${{words[3]}}" ;;
    esac
    for ((at = CURRENT - 1; at > 2; at--)); do
        if [[ "${{words[at]}}" == --* ]]; then option="${{words[at]}}"; break; fi
    done
    if ((CURRENT == 2)); then
        found=({commands})
        _describe command found
        return
    elif ((CURRENT == 3)) && [[ "$current" != -* ]]; then
        case "${{words[2]}}" in
{_seconds_case(seconds, assign="found=({})")}
        esac
    elif [[ "$current" == -* ]]; then
        case "$name" in
{options}
        esac
    else
        case "$name $option" in
{values}
        esac
    fi
    if (($#found)); then compadd -- $found; else _files; fi
}}
if [[ "$funcstack[1]" == _embedtrain ]]; then _embedtrain "$@"; else compdef _embedtrain embedtrain; fi"""


def _fish(summaries: Mapping[str, str], seconds: Mapping[str, Sequence[str]], flags: Mapping[str, list[Flag]]) -> str:
    lines = [
        f"# fish completion of embedtrain: {INSTALLING['fish']}",
        "function __embedtrain_in",
        "    set -l words (commandline -opc)[2..]",
        "    set -l last (count $argv)",
        '    test (count $words) -ge $last; and test "$words[1..$last]" = "$argv"',
        "end",
        "function __embedtrain_at",
        "    set -l words (commandline -opc)[2..]",
        '    test "$words" = "$argv"',
        "end",
    ]
    for name, text in summaries.items():
        lines.append(f"complete -c embedtrain -n __embedtrain_at -f -a {name} -d {shlex.quote(text)}")
    for first, words in seconds.items():
        lines.append(f"complete -c embedtrain -n '__embedtrain_at {first}' -f -a {shlex.quote(' '.join(words))}")
    for name, of in flags.items():
        for flag in of:
            takes = "" if flag.is_switch else f" -x -a {shlex.quote(' '.join(flag.values))}" if flag.values else " -r"
            lines.append(f"complete -c embedtrain -n '__embedtrain_in {name}' -l {flag.name.removeprefix('--')}{takes}")
    return "\n".join(lines)
