"""Attributes of a Google Cloud machine from its metadata server, e.g. its TPU worker number."""

import functools
import os
import urllib.request

_SECONDS = 5  # the server is close; outside of Google Cloud its name does not resolve
_HOST = "metadata.google.internal"


@functools.cache
def attribute(name: str) -> str:
    """Queries an attribute of this machine.

    As for jax, the variable TPU_SKIP_MDS_QUERY disables the query, and GCE_METADATA_IP sets the
    server.

    Args:
      name: e.g. "agent-worker-number".

    Returns:
      The value; "" if there is no such attribute or no server.
    """
    if "TPU_SKIP_MDS_QUERY" in os.environ:
        return ""
    request = urllib.request.Request(
        f"http://{os.environ.get('GCE_METADATA_IP', _HOST)}"
        f"/computeMetadata/v1/instance/attributes/{name}",
        headers={"Metadata-Flavor": "Google"},
    )
    # A proxy would answer for another machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return answer.read().decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
