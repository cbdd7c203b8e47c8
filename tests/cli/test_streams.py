"""Standard streams of any kind: a result is written all the same."""

import os
import subprocess
import sys

import pytest

# A verb that prints a name, writes progress and then its result, as `embed` does.
VERB = r"""
import sys, types
from pathlib import Path
from sersl.cli.main import main
def run(arguments):
    print("progress", file=sys.stderr, flush=True)
    sys.stderr.isatty()
    for _ in range(3):
        print("…/räuber_\udcff_二.wav", "x" * 200_000, flush=True)
    Path(RESULT).write_text("whole")
    print("written", file=sys.stderr)
    return 0
sys.modules[f"sersl.cli.{VERB}"] = types.SimpleNamespace(run=run)
"""
WORDS = {
    "embed": ["embed", "--model", "m", "a.wav", "--output", "o.npz"],
    "predict": ["predict", "--model", "m", "a.wav"],
    "prepare": ["prepare", "--corpus", "a", "--data_dir", "d"],
}


@pytest.fixture
def run(tmp_path):
    """Runs the verb with streams of a kind; gives exit code, stdout, stderr and its result."""

    def start(verb: str, redirect: str = "", encoding: str = "utf-8"):
        result = tmp_path / "result.txt"
        script = tmp_path / "verb.py"
        values = f"VERB, RESULT = {verb!r}, {str(result)!r}\n"
        script.write_text(values + VERB + f"sys.exit(main({WORDS[verb]!r}))\n")
        answer = subprocess.run(
            ["bash", "-c", f'"$0" "$1" {redirect}', sys.executable, script],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            timeout=60,
        )
        text = result.read_text() if result.exists() else None
        return answer.returncode, answer.stdout.decode(encoding), answer.stderr.decode(), text

    return start


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
def test_text_when_the_encoding_lacks_it_then_is_escaped(run, verb, encoding):
    code, out, err, result = run(verb, encoding=encoding)
    assert (code, err, result) == (0, "progress\nwritten\n", "whole")
    assert out.count("\\udcff") == 3
    if encoding == "ascii":
        assert out.startswith("\\u2026/r\\xe4uber_\\udcff_\\u4e8c.wav")


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize(
    "redirect",
    ["2>&-", "2>/dev/full", "2> >(exec true)", "2> >(sleep 0.1; exec 0<&-)", "2>&- 0<&-"],
)
def test_result_when_stderr_cannot_be_written_then_is_written(run, verb, redirect):
    code, out, _, result = run(verb, redirect)
    assert (code, result) == (0, "whole")
    assert out.count("räuber") == 3


@pytest.mark.parametrize("verb", ["embed", "prepare"])
@pytest.mark.parametrize("redirect", [">&-", ">/dev/full", "| exec true", ">&- 2>&- 0<&-"])
def test_result_in_a_file_when_stdout_cannot_be_written_then_is_written(run, verb, redirect):
    code, _, err, result = run(verb, redirect)
    assert (code, result) == (0, "whole")
    assert err in ("progress\nwritten\n", "")


@pytest.mark.parametrize(
    ("redirect", "words"),
    [(">&-", "standard output is closed"), (">/dev/full", "No space left on device")],
)
def test_result_on_stdout_when_it_cannot_be_written_then_one_sentence_and_code_2(
    run, redirect, words
):
    code, _, err, _ = run("predict", redirect)
    assert code == 2
    assert words in err and "--output" in err
    assert "Traceback" not in err and err.count("sersl: ") == 1


def test_result_on_stdout_when_its_reader_leaves_then_the_verb_ends_without_a_complaint(run):
    code, out, err, result = run("predict", "| head -c 5; exit ${PIPESTATUS[0]}")
    assert (code, result) == (0, None)
    assert len(out.encode()) == 5
    assert err == "progress\n"


def test_file_names_when_the_locale_is_not_utf8_then_stay_utf8(run):
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    script = (
        "import os, sys, types\nfrom sersl.cli.main import main\n"
        "def run(arguments):\n"
        "    print(os.fsencode('\\xe4'), sys.stdout.encoding, ascii(arguments.output))\n"
        "    return 0\n"
        "sys.modules['sersl.cli.embed'] = types.SimpleNamespace(run=run)\n"
        "sys.exit(main())\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, *WORDS["embed"][:-1], "ä.npz"],
        capture_output=True,
        env={**os.environ, **plain},
        timeout=60,
    )
    assert answer.stderr == b""
    assert answer.stdout == b"b'\\xc3\\xa4' ascii '\\xe4.npz'\n"


def test_sentence_when_it_names_a_file_with_escapes_then_is_one_plain_line(tmp_path):
    words = ["pretrain", "--config", "a\x1b[31m\n\u202eb.py", "--workdir", str(tmp_path / "w")]
    script = f"import sys\nfrom sersl.cli.main import main\nsys.exit(main({words!r}))\n"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr.count(b"\n") == 1
    assert b"\x1b" not in answer.stderr and "\u202e" not in answer.stderr.decode()
