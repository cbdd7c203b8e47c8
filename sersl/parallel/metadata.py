"""What the metadata server of a Google Cloud machine says of it: which worker of a TPU it is."""

import functools
import os
import urllib.request

_SECONDS = 5  # the server is a link away; where there is none, its name does not resolve
_HOST = "metadata.google.internal"


@functools.cache
def attribute(name: str) -> str:
    """Asks for an attribute of this machine.

    Args:
      name: e.g. "agent-worker-number".

    Returns:
      The answer; "" where there is no such attribute or no such server. The variable
      TPU_SKIP_MDS_QUERY forbids to ask, GCE_METADATA_IP names another server, as for jax.
    """
    if "TPU_SKIP_MDS_QUERY" in os.environ:
        return ""
    request = urllib.request.Request(
        f"http://{os.environ.get('GCE_METADATA_IP', _HOST)}"
        f"/computeMetadata/v1/instance/attributes/{name}",
        headers={"Metadata-Flavor": "Google"},
    )
    # No proxy knows this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return answer.read().decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
