import json

import pytest

from sersl.core.errors import UserError
from sersl.core.json_lines import json_line, read_json_lines
from sersl.training.observe import read_metrics


def read(path):
    return read_json_lines(path, what="log", remedy="remove it")


def test_lines_when_the_last_is_cut_off_then_the_others_are_read(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read(path) == []
    lines = [{"step": i, "loss": 0.5} for i in range(40)]
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    for cut in range(1, 25):
        path.write_text(whole[:-cut])
        assert read(path) == lines[: 40 if cut == 1 else 39]
    path.write_text(whole)
    assert read(path) == lines


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 7, "loss": 0.5',
        b'{"step": 7 "loss"}',
        b"[1]",
        b"NaN",
        b"",
        b'{"a": 1e999}',
        b"\xff",
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
    ],
)
def test_lines_when_one_is_damaged_then_its_number_is_given(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"log\.jsonl \(log\), line 2 is damaged: .*; remove it"):
        read(path)


def test_metrics_when_a_letter_is_wrong_then_no_line_is_lost_without_a_word(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": i, "loss": 0.5}) for i in range(40)]
    lines[7] = lines[7].replace('"loss"', '"loss')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="line 8 is damaged"):
        read_metrics(path)
    path.write_text('{"step": 1}\n{"stap": 2}\n')
    with pytest.raises(UserError, match="line 2 has no step"):
        read_metrics(path)


def test_lines_when_the_file_is_a_folder_then_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read: Is a directory; remove it"):
        read(tmp_path)


def test_lines_when_any_bit_of_a_log_flips_then_it_is_an_error_or_the_same(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": i, "loss": 0.1 / i, "rate": 1e-7, "accuracy": None} for i in (10, 20, 30)]
    whole = "".join(map(json_line, lines)).encode()
    path.write_bytes(whole)
    assert read_metrics(path) == lines
    refused = 0
    for bit in range(8 * (len(whole) - 1)):  # without the last line end, where a kill may cut
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            assert read_metrics(path) == lines, f"bit {bit}"
        except UserError:
            refused += 1
    assert refused > 7 * len(whole)


def test_lines_when_the_log_is_of_an_earlier_version_then_it_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}\n')
    assert read_metrics(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]


def test_metrics_when_a_value_is_text_then_the_line_and_the_value_are_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": "0.4"}\n')
    with pytest.raises(UserError, match="line 2: loss is not a number"):
        read_metrics(path)
