"""Commands that the fake engine can read: a container's argument vector → its behaviour. Pure.

Programs: `true`, `false`, `sleep`, `echo`, `printf`, and `sh -c` of these with `exit`, `:`, `;`, `&&`, `||`,
newlines, `>&2`, variables of the environment, and `trap … TERM` at the beginning, of nothing or before
`sleep N & wait`. What cannot be read is not guessed at: such a container prints why and ends with 126.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from tests.lab.fake_engine.behaviour import STDERR, STDOUT, Behaviour, Output, Termination, no_such_program

#: What an image of busybox has, among other things.
PROGRAMS = frozenset({"sh", "ash", "true", "false", "sleep", "echo", "printf", "cat", "env", "test"})
CANNOT_EXECUTE = 126
NOT_FOUND = 127
_SHELLS = frozenset({"sh", "ash", "bash"})
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "\\": b"\\", '"': b'"', "a": b"\a"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))")
#: Quoted text is matched too, so that a newline in it is left alone.
_NEWLINE = re.compile(r"""'[^']*'|"[^"]*"|\n""")
_GOES_ON = 'exec /bin/sh -c "$1"'
_OPERATORS = frozenset({";", "&&", "||", "&"})


#: Words of a real shell that this one does not know; no other word is a program's name by mistake.
_BUILT_IN = frozenset(
    [
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "{",
        "}",
        "!",
        "[",
        "[[",
        ".",
        "cd",
        "exec",
        "export",
        "eval",
        "set",
        "unset",
        "read",
        "return",
        "shift",
        "source",
        "test",
        "type",
        "ulimit",
        "umask",
        "alias",
        "command",
        "kill",
        "jobs",
        "local",
        "break",
        "continue",
    ]
)


class Unreadable(Exception):
    """The fake shell has no word for this."""


def behaviour_of_command(
    argv: Sequence[str], environment: Mapping[str, str], paths: Collection[str], *, has_init: bool
) -> Behaviour:
    """What a container with this command does in an image that has these paths."""
    if not argv or not argv[0] or not _is_there(argv[0], environment, paths):
        name = argv[0] if argv else ""
        if not has_init:
            return Behaviour(start_refusal=no_such_program(name))
        said = f"[FATAL tini (7)] exec {name} failed: No such file or directory\n"
        return Behaviour(exit_code=NOT_FOUND, output=(Output(said.encode(), stream=STDERR),))
    shell = _Shell(environment, paths)
    try:
        if PurePosixPath(argv[0]).name in _SHELLS:
            shell.run_script(_script_of(argv))
        else:
            shell.run(argv)
    except Unreadable as error:
        said = f"fake engine: cannot read the command: {error}\n"
        return Behaviour(exit_code=CANNOT_EXECUTE, output=(Output(said.encode(), stream=STDERR),))
    return shell.behaviour()


def _script_of(argv: Sequence[str]) -> str:
    if len(argv) < 3 or argv[1] != "-c":
        raise Unreadable(shlex.join(argv))
    # A script that prepares something, and goes on as the shell of another, which is its first argument.
    return argv[4] if argv[2].endswith(_GOES_ON) and len(argv) > 4 else argv[2]


def _is_there(name: str, environment: Mapping[str, str], paths: Collection[str]) -> bool:
    if "/" in name:
        return name in paths
    return any(f"{folder}/{name}" in paths for folder in environment.get("PATH", _DEFAULT_PATH).split(":"))


@dataclass
class _Shell:
    """A script run ahead of time: what it prints when, and how it ends."""

    environment: Mapping[str, str]
    paths: Collection[str]
    now: float = 0.0
    status: int = 0
    ended: bool = False
    output: list[Output] = field(default_factory=list)
    trap: str | None = None
    termination: Termination = field(default_factory=Termination)

    def behaviour(self) -> Behaviour:
        return Behaviour(
            seconds=self.now,
            exit_code=self.status & 0xFF,
            output=tuple(self.output),
            termination=self.termination,
        )

    def run_script(self, script: str) -> None:
        """Run what is between the operators, as each operator says."""
        words = self._words(script)
        command: list[str] = []
        operator = ";"
        for word in [*words, ";"]:
            if word not in _OPERATORS:
                command.append(word)
                continue
            if command and not self.ended and self._is_due(operator):
                self.run(command, in_background=word == "&")
            operator, command = word, []

    def _words(self, script: str) -> list[str]:
        lexer = shlex.shlex(_NEWLINE.sub(_separated, script), posix=False, punctuation_chars=";&|<>()")
        lexer.whitespace_split = True
        lexer.commenters = ""
        try:
            raw = list(lexer)
        except ValueError as error:
            raise Unreadable(f"{script}: {error}") from None
        words: list[str] = []
        for word in raw:
            if word in _OPERATORS or word == ">&":
                words.append(word)
            elif set(word) & set(";&|<>()") and word[0] not in "'\"":
                raise Unreadable(script)
            else:
                words.append(self._expanded(word))
        return words

    def _expanded(self, word: str) -> str:
        """Without its quotes, and with variables filled in where it is not in single ones."""
        if len(word) >= 2 and word[0] == word[-1] == "'":
            return word[1:-1]
        if "`" in word or "$(" in word:
            raise Unreadable(word)
        if len(word) >= 2 and word[0] == word[-1] == '"':
            word = re.sub(r'\\(["\\$])', r"\1", word[1:-1])
        elif "'" in word or '"' in word:
            raise Unreadable(word)
        if "$" in _VARIABLE.sub("", word):
            raise Unreadable(word)
        return _VARIABLE.sub(self._value, word)

    def _value(self, match: re.Match[str]) -> str:
        if match[3]:
            return "1"
        return self.environment.get(match[1] or match[2], "")

    def _is_due(self, operator: str) -> bool:
        return operator in (";", "&") or (operator == "&&") == (self.status == 0)

    def run(self, command: Sequence[str], *, in_background: bool = False) -> None:
        """Run one command of the few there are."""
        words, stream = list(command), STDOUT
        if words[-2:] == [">&", "2"]:
            words, stream = words[:-2], STDERR
        elif ">&" in words:
            raise Unreadable(shlex.join(command))
        name, arguments = words[0], words[1:]
        known = PurePosixPath(name).name
        program = getattr(self, f"_run_{known}", None)
        if name == ":":
            self.status = 0
        elif name in _BUILT_IN or "=" in name:
            raise Unreadable(shlex.join(command))
        elif program is None and not _is_there(name, self.environment, self.paths):
            self.output.append(Output(f"sh: {name}: not found\n".encode(), self.now, STDERR))
            self.status = NOT_FOUND
        elif program is None or (in_background and known != "sleep"):
            raise Unreadable(shlex.join(command))
        else:
            self._check_trap(known, in_background=in_background)
            program(arguments, stream)

    def _check_trap(self, name: str, *, in_background: bool) -> None:
        """A trap waits for the command under way, whose time is not known when the signal comes."""
        if name == "sleep" and self.trap and not in_background:
            raise Unreadable("sleep in the foreground with a trap: write `sleep N & wait`")

    def _run_true(self, arguments: Sequence[str], stream: int) -> None:
        self.status = 0

    def _run_false(self, arguments: Sequence[str], stream: int) -> None:
        self.status = 1

    def _run_wait(self, arguments: Sequence[str], stream: int) -> None:
        self.status = 0

    def _run_sleep(self, arguments: Sequence[str], stream: int) -> None:
        try:
            self.now += float(arguments[0].removesuffix("s"))
        except (IndexError, ValueError):
            raise Unreadable(f"sleep {shlex.join(arguments)}") from None
        self.status = 0

    def _run_exit(self, arguments: Sequence[str], stream: int) -> None:
        self.status = int(arguments[0]) if arguments else self.status
        self.ended = True

    def _run_echo(self, arguments: Sequence[str], stream: int) -> None:
        end = "\n"
        if arguments[:1] == ["-n"]:
            arguments, end = arguments[1:], ""
        self._print((" ".join(arguments) + end).encode(), stream)

    def _run_printf(self, arguments: Sequence[str], stream: int) -> None:
        if len(arguments) != 1 or "%" in arguments[0]:
            raise Unreadable(f"printf {shlex.join(arguments)}")
        self._print(_unescaped(arguments[0]), stream)

    def _run_trap(self, arguments: Sequence[str], stream: int) -> None:
        if len(arguments) != 2 or arguments[1] not in ("TERM", "SIGTERM", "15"):
            raise Unreadable(f"trap {shlex.join(arguments)}")
        if self.now:
            raise Unreadable("a trap that is not set at the beginning")
        self.trap, self.status = arguments[0], 0
        if not self.trap:
            self.termination = Termination(None)
            return
        inner = _Shell(self.environment, self.paths)
        inner.run_script(self.trap)
        if not inner.ended or inner.output or inner.now:
            raise Unreadable(f"a trap that does more than exit: {self.trap}")
        self.termination = Termination(0.0, inner.status)

    def _print(self, data: bytes, stream: int) -> None:
        last = self.output[-1] if self.output else None
        if last is not None and last.at_seconds == self.now and last.stream == stream:
            self.output[-1] = replace(last, data=last.data + data)
        else:
            self.output.append(Output(data, self.now, stream))
        self.status = 0


def _separated(match: re.Match[str]) -> str:
    return " ; " if match[0] == "\n" else match[0]


def _unescaped(text: str) -> bytes:
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[end : match.start()].encode())
        code = match[1]
        parts.append(bytes([int(code, 8) & 0xFF]) if code.isdigit() else _ESCAPES.get(code, match[0].encode()))
        end = match.end()
    return b"".join([*parts, text[end:].encode()])
