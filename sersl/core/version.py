"""The version of sersl, and of what results depend on."""

import importlib.metadata
import platform

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Lists the versions of python, jax, flax, numpy and sersl."""
    packages = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    return {"python": platform.python_version(), **packages, "sersl": __version__}
