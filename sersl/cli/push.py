"""`sersl push`: uploads a model folder to a hub."""

from argparse import Namespace
from pathlib import Path

from sersl.core.display import one_line
from sersl.core.errors import UserError
from sersl.release.hub.hub_name import PREFIX, hub_name
from sersl.release.hub.pushing import push


def run(arguments: Namespace) -> int:
    """Uploads a model.

    Args:
      arguments: `folder` of the model, `name` on the hub, and `private`.

    Returns:
      The exit code, 0.

    Raises:
      UserError: the folder is damaged or has no licence, or the hub refuses.
    """
    name = hub_name(PREFIX + str(arguments.name).removeprefix(PREFIX))
    if name is None:
        raise UserError(f"{one_line(arguments.name)} is not a name on a hub: give OWNER/NAME")
    address = push(Path(arguments.folder), name, private=arguments.private)
    print(f"model uploaded to {one_line(address)}")
    return 0
