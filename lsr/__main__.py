"""The console script `lsr`: a table of verbs, each imported only when it is asked for.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed,
2 misused, 130 interrupted. `LSR_DEBUG=1` shows the traceback behind an error.
"""

import difflib
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from . import __version__
from .errors import LsrError, UsageError

VERBS = {
    "demo": ("lsr.commands.demo:demo", "index and search the Python documentation, offline"),
    "index": ("lsr.commands.index:index", "build an index of a corpus"),
    "search": ("lsr.commands.search:search", "search an index"),
    "explain": ("lsr.commands.explain:explain", "say why a document has its score and rank"),
    "evaluate": ("lsr.commands.evaluate:evaluate", "measure systems on judged collections"),
    "reproduce": ("lsr.commands.reproduce:reproduce", "check published figures"),
    "fuse": ("lsr.commands.fuse:fuse", "make one run of several"),
    "tune": ("lsr.commands.tune:tune", "choose the weights of a hybrid, off the test set"),
    "compare": ("lsr.commands.compare:compare", "test systems against each other, query by query"),
    "rerank": ("lsr.commands.rerank:rerank", "order the first documents of a run again"),
    "serve": ("lsr.commands.serve:serve", "answer searches over HTTP"),
    "keys": ("lsr.commands.keys:keys", "make, list and revoke the keys of a server"),
    "encode": ("lsr.commands.encode:encode", "turn texts into sparse vectors"),
    "train": ("lsr.commands.train:train", "train an encoder from a recipe"),
    "score": ("lsr.commands.score:score", "score training candidates with teachers"),
    "push": ("lsr.commands.push:push", "publish an encoder on the hub, or copy it to a folder"),
    "onnx": ("lsr.commands.onnx:onnx", "write an encoder that needs no torch"),
    "thaw": ("lsr.commands.thaw:thaw", "make an ONNX encoder one that trains"),
    "join": ("lsr.commands.join:join", "put BM25's words beside a learned encoder's terms"),
    "average": ("lsr.commands.average:average", "make one encoder of several with the same start"),
    "adapt": ("lsr.commands.adapt:adapt", "adapt an encoder to a corpus without labels"),
    "queries": ("lsr.commands.queries:queries", "make a training set of a corpus without labels"),
    "mine": ("lsr.commands.mine:mine", "find hard negatives for a judged collection"),
    "idf": ("lsr.commands.idf:idf", "count tokens, or refresh an encoder's query table"),
    "sweep": ("lsr.commands.sweep:sweep", "trade quality for size and speed"),
    "bench": ("lsr.commands.bench:bench", "measure how fast an index is"),
    "mteb": ("lsr.commands.mteb:mteb", "let MTEB evaluate an encoder over our index"),
    "referee": ("lsr.commands.referee:referee", "compare an index with scipy and with Lucene"),
    "doctor": ("lsr.commands.doctor:doctor", "find what ails an index or an encoder"),
    "check": ("lsr.commands.check:check", "verify every byte of an index"),
    "mcp": ("lsr.commands.mcp:mcp", "give agents an index as tools"),
    "export": ("lsr.commands.export:export", "write an index as another engine takes it"),
    "import": ("lsr.commands.import_:import_", "build an index of another engine's vectors"),
    "trace": ("lsr.commands.trace:trace", "keep which words gave documents their terms"),
    "repair": ("lsr.commands.repair:repair", "replace damaged segments of an index"),
    "rebuild": ("lsr.commands.rebuild:rebuild", "make an index anew and swap it in"),
    "rollback": (
        "lsr.commands.rollback:rollback",
        "let an alias or an index be what it was before",
    ),
    "tasks": ("lsr.commands.tasks:tasks", "list, show, wait for and cancel tasks of a server"),
    "snapshot": ("lsr.commands.snapshot:snapshot", "copy live indexes, verify and restore copies"),
    "info": ("lsr.commands.info:info", "describe an index, an encoder or this installation"),
}
"""verb -> (where its command is, one line of help): all that `lsr --help` needs."""

_INTERRUPTED = 130
_PROCESS = os.getpid()


class LazyVerbs(click.Group):
    """A group whose commands are known by name and help, and imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb's command."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one was probably meant."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "."
            raise UsageError(f"no verb {args[0]!r}{hint} Verbs: {', '.join(VERBS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing what it names."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in VERBS.items()])


@click.group(
    cls=LazyVerbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB ...",
    epilog="`lsr VERB --help` shows options and examples. LSR_DATA: folder of datasets; LSR_CACHE: "
    "what can be made again; LSR_ENCODER: what `lsr index` and `lsr demo` encode with; "
    "LSR_API_KEY: for a server that asks for one; LSR_BEIR_URL: a mirror of BEIR's archives; "
    "LSR_THREADS: of an ONNX encoder; LSR_QUIET=1: no progress; LSR_DEBUG=1: tracebacks. "
    'eval "$(_LSR_COMPLETE=bash_source lsr)" completes verbs, options and names (also zsh_source, '
    "fish_source).",
)
@click.version_option(__version__, prog_name="lsr-search", message="%(prog)s %(version)s")
def cli() -> None:
    """Learned sparse retrieval: train an encoder, index a corpus, search it exactly, serve it."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; says every error in one line."""
    if sys.stdout is None:  # closed by the shell (`>&-`): results go nowhere, as was asked for
        sys.stdout = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    try:
        code = cli.main(args=list(arguments), prog_name="lsr", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except LsrError as error:
        _complain(str(error))
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            print(f"next       {error.ctx.command_path} --help", file=sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt) as stopped:
        ended = next((one for one in (stopped, stopped.__cause__) if isinstance(one, Ended)), None)
        by = "the keyboard" if ended is None else ended.name
        print(f"\nstopped    by {by}", file=sys.stderr)
        return _INTERRUPTED if ended is None else 128 + ended.value
    except BrokenPipeError:
        # The reader has left. Nothing may be flushed into the pipe when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as click does when the pipe breaks while it prints
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror or error}")
        return 1
    except Exception as error:
        _complain(
            f"{type(error).__name__}: {error}. This is a defect of lsr-search; "
            "LSR_DEBUG=1 shows where"
        )
        return 1


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP: what Ctrl-C keeps is kept when a batch system or a container ends us."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.value = number
        self.name = signal.Signals(number).name


def main() -> None:
    """Run the command line of this process."""
    if sys.argv[1:2] != ["serve"]:  # which ends in its own way
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup's is another
                signal.signal(number, _end)
    sys.exit(run(sys.argv[1:]))


def _end(number: int, _: object) -> None:
    if os.getpid() == _PROCESS:
        raise Ended(number)
    os._exit(128 + number)  # a fork of ours, which ends as it would have without us


def _complain(message: str) -> None:
    if os.environ.get("LSR_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    print(f"error      {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
