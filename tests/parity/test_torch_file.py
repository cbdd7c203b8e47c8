import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from sersl.core.errors import UserError
from sersl.release.tensors import as_float32, open_weights
from sersl.release.torch_file import TorchFile


@pytest.fixture
def state():
    whole = torch.randn(4, 6)
    return collections.OrderedDict(
        plain=torch.randn(2, 3, 5),
        transposed=torch.randn(3, 4).T,
        part=whole[1:3, 2:5],
        half=torch.randn(3).half(),
        brain=torch.randn(3).bfloat16(),
        number=torch.tensor(7),
        parameter=torch.nn.Parameter(torch.randn(2, 2)),
        empty=torch.zeros(0, 3),
    )


def test_torch_file_when_read_then_equal_to_torch(tmp_path, state):
    torch.save(state, tmp_path / "pytorch_model.bin")
    file = TorchFile(tmp_path / "pytorch_model.bin")
    assert list(file.tensors) == list(state)
    for name, tensor in state.items():
        found = file.read(name)
        assert found.shape == tuple(tensor.shape)
        np.testing.assert_array_equal(
            found.astype(np.float32), tensor.detach().float().numpy(), err_msg=name
        )


def test_torch_file_when_written_by_a_module_then_read(tmp_path):
    module = torch.nn.Linear(3, 2)
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")  # an OrderedDict with _metadata
    tensors = open_weights(tmp_path)
    np.testing.assert_array_equal(tensors["weight"].read(), module.weight.detach().numpy())
    assert tensors["bias"].shape == (2,)


class Evil:
    def __init__(self, call, *arguments):
        self.what = (call, arguments)

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    "evil",
    [Evil(os.system, "touch here"), Evil(eval, "1"), Evil(torch.load, "x")],
    ids=["system", "eval", "torch.load"],
)
@pytest.mark.parametrize("where", ["value", "whole"])
def test_torch_file_when_its_pickle_runs_code_then_refused_unrun(
    tmp_path, monkeypatch, evil, where
):
    monkeypatch.chdir(tmp_path)
    content = {"weight": evil} if where == "value" else evil
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"refused: its pickle asks to run \w+\."):
        open_weights(tmp_path)
    assert not (tmp_path / "here").exists()


def test_torch_file_when_it_is_a_bare_pickle_then_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("pytorch_model.bin", "wb") as file:
        pickle.dump(Evil(os.system, "touch here"), file)
    with pytest.raises(UserError, match=r"of a PyTorch before 1\.6"):
        open_weights(tmp_path)
    assert not (tmp_path / "here").exists()


def test_torch_file_when_it_holds_more_than_tensors_then_said(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"weight": torch.ones(2), "step": 3}, path)
    with pytest.raises(UserError, match="'step', which is not a tensor"):
        TorchFile(path)
    torch.save({"model": {"weight": torch.ones(2)}}, path)
    with pytest.raises(UserError, match="'model', which is not a tensor"):
        TorchFile(path)


def test_torch_file_when_truncated_or_altered_then_said(tmp_path, state):
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged, truncated"):
        TorchFile(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02garbage")
    with pytest.raises(UserError, match="pickle is damaged"):
        TorchFile(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
    with pytest.raises(UserError, match="compressed"):
        TorchFile(path)
    values = np.frombuffer(state["plain"].numpy().tobytes(), np.uint8)[:60].tobytes()
    path.write_bytes(whole.replace(values, bytes(60)))
    with pytest.raises(UserError, match="'plain' is damaged"):
        TorchFile(path).read("plain")


def test_weights_when_quantised_or_not_finite_then_said(tmp_path):
    state = {"a": torch.ones(2, dtype=torch.int8), "b": torch.tensor([1.0, float("nan")])}
    torch.save(state, tmp_path / "pytorch_model.bin")
    tensors = open_weights(tmp_path)
    with pytest.raises(UserError, match="'a' is int8, not of real numbers"):
        as_float32("a", tensors["a"])
    with pytest.raises(UserError, match="'b' has values that are NaN"):
        as_float32("b", tensors["b"])
