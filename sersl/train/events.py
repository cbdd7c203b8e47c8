"""The writer of TensorBoard's event files, without PyTorch.

tensorboardX imports PyTorch wherever it is installed, for tensors that we never hand it: seconds of
every start, and gigabytes of address space. While it is imported, PyTorch is not to be found.
"""

import sys

_hidden = "torch" not in sys.modules
if _hidden:
    sys.modules["torch"] = None  # an import of it now raises ImportError, which is caught there
try:
    from tensorboardX import SummaryWriter
finally:
    if _hidden:
        del sys.modules["torch"]

__all__ = ["SummaryWriter"]
