"""Every command and example of docs/serve.md runs."""

import json
import re
import subprocess

import pytest
import soundfile

from tests.fake_speech import RATE, make_voice
from tests.release.serve.running import running
from tests.tiny_runs import ROOT


@pytest.mark.slow
def test_guide_when_its_commands_are_run_then_all_succeed(tmp_path, capsys):
    text = (ROOT / "docs" / "serve.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    first, *requests = [line for block in blocks for line in block.splitlines()]
    assert first == "sersl serve --model model --port 8000"  # of which a free port is taken
    soundfile.write(tmp_path / "a.wav", make_voice(4.0), RATE)
    with running(tmp_path) as served:
        answers = []
        for line in requests:
            assert line.startswith("curl ")
            line = line.replace(":8000", f":{served.port}")
            done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, (line, done.stderr)
            answers.append(done.stdout)
        assert json.loads(answers[0])["status"] == "ok"
        assert len(json.loads(answers[1])) == 3
        assert json.loads(answers[2])[0]["file"] == "a.wav"
        assert len(answers) == 7 and "sersl_requests_total" in answers[5]
        (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        exec(example.replace(":8000", f":{served.port}"), {})
        assert len(capsys.readouterr().out.splitlines()) == 7
