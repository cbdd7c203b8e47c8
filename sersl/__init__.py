"""sersl: emotion-aware self-supervised speech pretraining, fine-tuning and prediction in JAX."""

from sersl.core.version import __version__ as __version__


def __getattr__(name: str):
    # `sersl --help` must not import jax, so the Python entry points load on first use.
    if name == "load":
        from sersl.release.predict.predictor import load

        return load
    if name == "WithViews":
        from sersl.release.predict.with_views import WithViews

        return WithViews
    raise AttributeError(f"module 'sersl' has no attribute {name!r}")
