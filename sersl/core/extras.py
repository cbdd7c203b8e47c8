"""Optional packages: how to install them."""


def install_hint(extra: str) -> str:
    """Writes the commands that install an extra, e.g. "onnx", for a package and for a clone."""
    return f"pip install 'sersl[{extra}]' (in a clone of sersl: pip install -e '.[{extra}]')"
