"""The command line: help at once, problems as one sentence, exit codes."""

import importlib.util
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from sersl import __version__
from sersl.cli.arguments import make_parser
from sersl.cli.main import FILES, main
from sersl.core.errors import UserError

VERBS = (
    *("prepare", "annotate", "cluster", "pretrain", "finetune", "evaluate", "import", "export"),
    *("compare", "sweep", "benchmark", "predict", "embed", "serve", "doctor", "plan"),
)
HEAVY = ("jax", "jaxlib", "flax", "tensorflow", "tensorflow_datasets", "torch", "numpy", "scipy")
CONSOLE_COMMAND = Path(sys.executable).parent / "sersl"
ATTEMPTS = 5  # a machine busy with other tests answers late; the fastest of a few counts


@pytest.fixture
def verb(monkeypatch):
    """Puts a function in the place of a verb's file and gives what it was called with."""

    def replace(name: str, run=None) -> list:
        seen = []

        def remember(arguments):
            seen.append(arguments)
            return 0 if run is None else run()

        monkeypatch.setitem(sys.modules, f"sersl.cli.{name}", types.SimpleNamespace(run=remember))
        return seen

    return replace


def test_verbs_when_listed_then_each_has_a_file_and_a_line_of_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in VERBS:
        assert re.search(rf"\n    {name}\s", text)
        file = FILES.get(name, name)
        assert importlib.util.find_spec(f"sersl.cli.{file}") is not None, name


@pytest.mark.parametrize("name", VERBS)
def test_help_when_asked_then_loads_nothing_heavy_and_explains_every_option(name):
    script = (
        "import sys\nfrom sersl.cli.main import main\n"
        f"try:\n    main([{name!r}, '--help'])\nexcept SystemExit as stop:\n"
        f"    print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], stop.code)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout.endswith("HEAVY [] 0\n"), answer.stdout + answer.stderr
    assert f"sersl {name}" in answer.stdout


@pytest.mark.parametrize("arguments", [[], *[[name] for name in VERBS]], ids=" ".join)
def test_console_command_when_asked_for_help_then_answers_within_a_second(arguments):
    seconds = []
    for _ in range(ATTEMPTS):
        started = time.monotonic()
        answer = subprocess.run(
            [CONSOLE_COMMAND, *arguments, "--help"], capture_output=True, text=True
        )
        seconds.append(time.monotonic() - started)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.startswith("usage: sersl")
        if seconds[-1] < 1.0:
            return
    pytest.fail(f"--help took {seconds} s")


def test_version_when_asked_then_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"sersl {__version__}\n"


def test_verb_when_unknown_then_exit_code_is_2_and_the_verbs_are_named(capsys):
    assert main(["predit", "a.wav"]) == 2
    error = capsys.readouterr().err
    assert "predit" in error
    assert "predict" in error


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ([], "verb"),
        (["predict", "a.wav"], "a.wav does not exist"),
        (["predict", "--model", "m"], "--list FILE"),
        (["prepare", "--corpus", "ravdess"], "--data_dir"),
        (["pretrain", "--workdir", "w"], "--config"),
        (["annotate", "--corpus", "a", "--data_dir", "d", "--processes", "two"], "--processes"),
        (["embed", "--model", "m", "a.wav"], "--output"),
        (["export", "--workdir", "w", "--output", "o", "--colour", "red"], "--colour"),
        (["prepare", "--data_dir", "d", "--processes", "0"], "--processes: takes a whole number"),
        (["prepare", "--data_dir", "d", "--processes", "9" * 5000], "--processes: takes"),
        (["prepare", "--data_dir", "d", "--processes", ""], "--processes: takes an integer"),
        (["predict", "--model", "m", "a.wav", "--window", "nan"], "--window: takes a number above"),
        (["predict", "--model", "m", "a.wav", "--hop", "-1"], "--hop: takes a number above 0"),
        (["predict", "--model", "m", "a.wav", "--window", "1e999"], "--window: takes a number"),
        (
            ["cluster", "--corpus", "a", "--data_dir", "d", "--output", "o", "--seed", "1.5"],
            "--seed",
        ),
    ],
)
def test_options_when_missing_or_wrong_then_exit_code_is_2_and_the_option_is_named(
    capsys, argv, word
):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert word in error
    assert len(error.splitlines()) == 1
    assert len(error) < 300


def test_verb_when_it_is_done_then_its_exit_code_is_returned(verb):
    seen = verb("annotate", lambda: 0)
    assert main(["annotate", "--corpus", "nemo", "--data_dir", "d", "--processes", "2"]) == 0
    assert (seen[0].corpus, seen[0].annotator, seen[0].processes) == ("nemo", "signal", 2)


def test_user_error_when_raised_then_one_sentence_on_stderr_and_code_2(verb, capsys):
    def fail():
        raise UserError("the folder 'x' does not exist: give another")

    verb("annotate", fail)
    assert main(["annotate", "--corpus", "nemo", "--data_dir", "d"]) == 2
    output = capsys.readouterr()
    assert output.err == "sersl: the folder 'x' does not exist: give another\n"
    assert output.out == ""


def test_other_error_when_raised_then_is_not_hidden(verb):
    def fail():
        raise ZeroDivisionError("a bug")

    verb("annotate", fail)
    with pytest.raises(ZeroDivisionError):
        main(["annotate", "--corpus", "nemo", "--data_dir", "d"])


def test_interrupt_when_typed_then_code_is_130_without_a_traceback(verb, capsys):
    def interrupt():
        raise KeyboardInterrupt

    verb("annotate", interrupt)
    assert main(["annotate", "--corpus", "nemo", "--data_dir", "d"]) == 130
    assert capsys.readouterr().err == "sersl: interrupted\n"


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_overrides_when_given_anywhere_then_reach_the_verb_in_order(verb, name):
    seen = verb(name)
    argv = ["--config.a.b=1", "--config", "c.py:tiny", "--config.d", "x y", "--workdir", "w"]
    assert main([name, *argv, "--config.e=f=g", "--config.n=-3", "--config.m", "-3"]) == 0
    assert seen[0].overrides == ["a.b=1", "d=x y", "e=f=g", "n=-3", "m=-3"]
    assert (seen[0].config, seen[0].workdir) == ("c.py:tiny", "w")


def test_override_when_it_has_no_value_then_says_how_to_write_it(verb, capsys):
    verb("pretrain")
    assert main(["pretrain", "--config", "c.py", "--workdir", "w", "--config.train.seed"]) == 2
    assert "--config.train.seed=VALUE" in capsys.readouterr().err


def test_override_when_given_to_a_verb_without_settings_then_is_refused(verb, capsys):
    verb("embed")
    argv = ["embed", "--model", "m", "a.wav", "--output", "a.npz", "--config.train.seed=1"]
    assert main(argv) == 2
    assert "embed takes no --config.KEY=VALUE" in capsys.readouterr().err


def test_options_when_abbreviated_then_they_are_refused(capsys):
    # `--data` for `--data_dir` would be a silent second spelling of every option.
    assert main(["prepare", "--data", "d", "--corpus", "synthetic"]) == 2
    assert "--data_dir" in capsys.readouterr().err
    arguments = make_parser().parse_args(["prepare", "--data_dir", "d", "--corpus", "synthetic"])
    assert (arguments.verb, arguments.data_dir, arguments.overwrite) == ("prepare", "d", False)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["prepare", "--corpus", "synthetc", "--data_dir", "DIR"], "'synthetic'"),
        (["prepare", "--corpus", "ravdess", "--data_dir", "DIR"], "--audio_dir"),
        (["prepare", "--corpus", "ravdess", "--audio_dir", "/none", "--data_dir", "DIR"], "/none"),
        (["annotate", "--corpus", "synthetic", "--data_dir", "DIR"], "sersl prepare"),
        (["annotate", "--annotator", "signl", "--corpus", "a", "--data_dir", "DIR"], "'signal'"),
        (["pretrain", "--config", "none.py", "--workdir", "DIR"], "none.py"),
    ],
)
def test_real_verb_when_the_user_is_wrong_then_code_2_and_the_thing_is_named(
    tmp_path, capsys, argv, words
):
    assert main([str(tmp_path / "d") if word == "DIR" else word for word in argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sersl: ")
    assert words in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_reader_when_it_stops_early_then_there_is_no_complaint(tmp_path):
    # As `sersl ... | head -1`: the verb writes into a pipe that nobody reads.
    script = (
        "import sys, types\nfrom sersl.cli.main import main\n"
        "def run(arguments):\n    print('x' * 10**6, flush=True)\n    return 0\n"
        "sys.modules['sersl.cli.annotate'] = types.SimpleNamespace(run=run)\n"
        "sys.exit(main(['annotate', '--corpus', 'a', '--data_dir', 'd']))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    answer = subprocess.run(
        [sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (0, "")
