"""Every command and example of docs/predict.md runs."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import soundfile

from sersl.cli.main import main
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model

GUIDE = Path(__file__).parents[1] / "docs" / "predict.md"


def test_guide_when_its_commands_are_run_then_all_succeed(tmp_path, monkeypatch, capsys):
    fake_model.write_fake(tmp_path / "model")
    (tmp_path / "recordings").mkdir()
    for number, name in enumerate("ab"):
        voice = make_voice(3.0, number)
        soundfile.write(tmp_path / "recordings" / f"{name}.wav", voice, RATE)
    (tmp_path / "files.txt").write_text("recordings/a.wav\nrecordings/b.wav\n")
    turn = "SPEAKER a 1 0.5 1.5 <NA> <NA> ann <NA> <NA>\n"
    (tmp_path / "turns.rttm").write_text(turn)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) > 10
    for command in commands:
        program, *words = shlex.split(command.partition(" < ")[0])
        assert program == "sersl"
        if " < " in command:
            monkeypatch.setattr(sys, "stdin", open(command.partition(" < ")[2]))  # noqa: SIM115
        assert main(words) == 0, (command, capsys.readouterr().err)
    for name in ("emotions.csv", "emotions-00001-of-00002.csv", "frames", "vectors.npz"):
        assert (tmp_path / name).exists()
    assert ",ann," in (tmp_path / "turns.csv").read_text()
    examples = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    exec("\n".join(examples), {})
    shown = capsys.readouterr().out
    assert "missing.wav unreadable" in shown and "no_speech" in shown
    shutil.rmtree(tmp_path / "frames")
