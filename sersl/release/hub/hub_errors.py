"""Errors of a hub as sentences, and the optional package that talks to it."""

import contextlib
import logging
from collections.abc import Iterator
from types import ModuleType

from sersl.core.display import one_line
from sersl.core.errors import UserError, as_user_error
from sersl.core.extras import install_hint

_STATUS = {
    401: "asks for a token: run `hf auth login`, or set HF_TOKEN",
    403: "does not let your token do this: ask the owner for access, or use another token",
    404: "does not exist there, or is private: correct the name, or set HF_TOKEN to a token that "
    "may read it",
    413: "has a file that the hub finds too large: ask the hub for more room",
    429: "is asked for too often: wait some minutes and run the same command again",
}
_TOKEN_REFUSED = (
    "does not accept your token, which is wrong or has expired: run `hf auth login`, or correct "
    "HF_TOKEN"
)
_UNREACHABLE = ("ConnectError", "ConnectTimeout", "ReadTimeout", "OfflineModeIsEnabled")


def hub_library(name: object) -> ModuleType:
    """Imports huggingface_hub.

    Args:
      name: of the model that is asked for.

    Returns:
      The module.

    Raises:
      UserError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{name} is not a folder here, and models on a hub need the package huggingface_hub: "
            f"give a folder, or {install_hint('hub')}"
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def hub_errors(name: object) -> Iterator[None]:
    """Turns every error of huggingface_hub into one sentence, and keeps its own log quiet.

    Args:
      name: of the model.

    Yields:
      None.

    Raises:
      UserError: the block failed.
    """
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # after a rubbish answer the library raises errors of any kind
        raise problem(name, error) from error
    finally:
        log.setLevel(level)


def is_final(error: BaseException) -> bool:
    """Tells whether a hub answered that it has no such model for this user."""
    return any(_status(cause) in (401, 403, 404) for cause in _chain(error))


def problem(name: object, error: BaseException) -> UserError:
    """Writes the sentence for an error of huggingface_hub.

    Args:
      name: of the model.
      error: that was raised.

    Returns:
      The error to show.
    """
    where = f"model {name} on the hub {_endpoint()}"
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return cause
        kind = type(cause).__name__
        if kind == "RevisionNotFoundError":
            return UserError(f"{where} has no such revision: correct what follows @")
        if kind == "GatedRepoError":
            return UserError(
                f"{where} is open to those who accepted its terms: accept them on its page, then "
                "run `hf auth login` or set HF_TOKEN"
            )
        if kind == "OfflineModeIsEnabled":
            return UserError(
                f"model {name} is not a folder here, and not in the cache of Hugging Face, and "
                "HF_HUB_OFFLINE forbids the network: unset it, or give a folder"
            )
        if kind in _UNREACHABLE:
            return UserError(
                f"{where} cannot be reached: check the network, HF_ENDPOINT and your proxy, or "
                "give a folder if you meant one"
            )
        status = _status(cause)
        if status is not None:
            text = _STATUS.get(status, f"gave the error {status}: try again later")
            if status == 401 and hub_library(name).get_token():
                text = _TOKEN_REFUSED
            return UserError(f"{where} {text}")
    found = as_user_error(error)
    if found is not None:
        return found
    return UserError(
        f"{where} gave an answer that cannot be used ({one_line(str(error))[:160]}): try again, "
        "and check that HF_ENDPOINT is a hub"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


def _endpoint() -> str:
    return str(hub_library("").HfApi().endpoint)
