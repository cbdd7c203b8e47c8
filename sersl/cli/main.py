"""`sersl <verb>`: parse, run the verb's file, and turn problems into sentences and exit codes."""

import importlib
import logging
import os
import sys
from collections.abc import Sequence

from sersl.cli.arguments import VERBS, make_parser
from sersl.core import interrupts
from sersl.core.errors import UserError, as_user_error, unknown_name
from sersl.core.memory import keep_freed_memory, share_one_heap

FILES = {"import": "import_model"}  # of verbs that Python keeps for itself
DONE, FAILED, USER_CAN_FIX = 0, 1, 2
_CONFIGURED = ("annotate", "pretrain", "finetune", "plan")
_TRAINING = ("pretrain", "finetune")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
      argv: the command line without the program's name; that of the process when None.

    Returns:
      0 done; 2 the user can fix it, one sentence was printed. Anything else raises and ends in 1.
    """
    is_program = argv is None
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv and not argv[0].startswith("-") and argv[0] not in VERBS:
            raise unknown_name("verb", argv[0], VERBS)
        argv, overrides = _take_overrides(argv)
        arguments = make_parser().parse_args(argv)
        if overrides and arguments.verb not in _CONFIGURED:
            raise UserError(f"sersl {arguments.verb} takes no --config.KEY=VALUE")
        arguments.overrides = overrides
        logging.basicConfig(level=logging.WARNING, format="sersl: %(message)s")
        # Orbax and asyncio print what they also raise, once for every array; sersl says it once.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        sys.unraisablehook = _print_once
        if arguments.verb in _TRAINING:
            keep_freed_memory()
        elif arguments.verb == "plan":
            share_one_heap()  # of the compiler's threads
        if is_program:
            interrupts.install()
        # The first use of a heavy library: each verb imports what it needs, --help nothing.
        file = FILES.get(arguments.verb, arguments.verb)
        verb = importlib.import_module(f"sersl.cli.{file}")
        if arguments.verb in _TRAINING:
            return verb.run(arguments)
        with interrupts.cleanup_allowed():
            return verb.run(arguments)
    except BrokenPipeError:
        # `sersl predict ... | head`: nobody reads on; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (UserError, OSError) as error:
        sentence = as_user_error(error)
        if sentence is None:
            raise
        print(f"sersl: {sentence}", file=sys.stderr)
        return USER_CAN_FIX
    except KeyboardInterrupt:
        if interrupts.may_announce():
            print("sersl: interrupted", file=sys.stderr)
        return 130


def _print_once(unraisable) -> None:
    """Prints what Python cannot raise, but not of array writers that outlive a failed save."""
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
