"""The sentences for damaged audio."""

from sersl.core.errors import UserError


def truncated(name: str, detail: str) -> UserError:
    """Builds the error for a file whose end is missing; `detail` is the evidence."""
    return UserError(f"{name} is truncated: {detail}; copy it again or leave it out")


def damaged(name: str, detail: str) -> UserError:
    """Builds the error for a file that cannot be decoded, or not to its end."""
    return UserError(f"{name} is damaged or truncated ({detail}): copy it again or leave it out")


def changes_format(name: str) -> UserError:
    """Builds the error for a recording with two sample rates or numbers of channels."""
    return UserError(
        f"{name} changes its sample rate or its number of channels in the middle: convert it to "
        "wav or flac first"
    )
