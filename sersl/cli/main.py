"""`sersl <verb>`: parses, runs the verb, and turns errors into sentences and exit codes."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from sersl.cli.arguments import VERBS, make_parser
from sersl.cli.console.paths import check_paths
from sersl.cli.streams import ReaderLeftError, guard_streams, need_stdout, use_utf8
from sersl.core import interrupts
from sersl.core.compilation_cache import use_compilation_cache
from sersl.core.display import one_sentence
from sersl.core.errors import UserError, as_user_error, unknown_name
from sersl.core.memory import keep_freed_memory, share_one_heap

FILES = {"import": "import_model"}  # import is a keyword of Python
DONE, USER_CAN_FIX, INTERRUPTED = 0, 2, 130
_CONFIGURED = ("annotate", "pretrain", "finetune", "sweep", "benchmark", "plan")
_TRAINING = ("pretrain", "finetune", "sweep", "benchmark")
_PRINTING = ("predict", "doctor", "plan")  # print their result, without --output nowhere else


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
      argv: the command line without the program's name; that of the process when None.

    Returns:
      0 done; 2 the user can fix it, one sentence was printed; 130 interrupted. Other errors raise.
    """
    is_program = argv is None
    if is_program:
        use_utf8()
    guard_streams()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv and not argv[0].startswith("-") and argv[0] not in VERBS:
            raise unknown_name("verb", argv[0], VERBS)
        argv, overrides = _take_overrides(argv)
        arguments = make_parser().parse_args(argv)
        if overrides and arguments.verb not in _CONFIGURED:
            raise UserError(f"sersl {arguments.verb} takes no --config.KEY=VALUE")
        check_paths(arguments)
        arguments.overrides = overrides
        if arguments.verb in _PRINTING and not getattr(arguments, "output", None):
            need_stdout()
        logging.basicConfig(level=logging.WARNING, format="sersl: %(message)s")
        # Orbax and asyncio log what they also raise, once for every array.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        sys.unraisablehook = _print_once
        training = arguments.verb in _TRAINING
        if training:
            keep_freed_memory()
        elif arguments.verb == "plan":
            share_one_heap()  # of the compiler's threads
        if is_program:
            use_compilation_cache(os.environ)
            interrupts.install()
        # The first use of a heavy library: each verb imports what it needs, --help nothing.
        file = FILES.get(arguments.verb, arguments.verb)
        verb = importlib.import_module(f"sersl.cli.{file}")
        with contextlib.nullcontext() if training else interrupts.cleanup_allowed():
            code = verb.run(arguments)
        sys.stdout.flush()
        return code
    except ReaderLeftError:
        return DONE
    except (UserError, OSError) as error:
        sentence = as_user_error(error)
        if sentence is None:
            raise
        print(f"sersl: {one_sentence(str(sentence))}", file=sys.stderr)
        return USER_CAN_FIX
    except KeyboardInterrupt:
        if interrupts.may_announce():
            print("sersl: interrupted", file=sys.stderr)
        return INTERRUPTED


def _print_once(unraisable) -> None:
    """Prints what Python cannot raise, except of array writers that outlive a failed save."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _take_overrides(argv: list[str]) -> tuple[list[str], list[str]]:
    """Takes `--config.a.b=V` and `--config.a.b V` out of the command line."""
    kept, overrides = [], []
    words = iter(argv)
    for word in words:
        if not word.startswith("--config."):
            kept.append(word)
            continue
        setting = word.removeprefix("--config.")
        if "=" not in setting:
            value = next(words, None)
            if value is None or value.startswith("--"):
                raise UserError(f"{word} has no value: write {word}=VALUE")
            setting = f"{setting}={value}"
        overrides.append(setting)
    return kept, overrides
