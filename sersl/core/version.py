"""The version of sersl, and of what results depend on."""

import importlib.metadata
import platform
from collections.abc import Iterable

__version__ = "0.1.0"

# Packages that results and model folders name.
BRIEF = ("jax", "flax", "numpy")
# Packages that a run notes at every start.
ALL = (
    *("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "grain", "array-record"),
    *("numpy", "scipy", "soundfile", "soxr"),
)


def versions(packages: Iterable[str] = BRIEF) -> dict[str, str]:
    """Lists the versions of python, of those packages that are installed, and of sersl."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"sersl": __version__}
