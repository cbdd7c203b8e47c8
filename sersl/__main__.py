"""`python -m sersl <verb>`, and what the command `sersl` runs."""

import os
import signal
import sys

for _number, _code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
    # Until `sersl.core.interrupts` takes over; a background job of a shell ignores SIGINT.
    if signal.getsignal(_number) is not signal.SIG_IGN:
        signal.signal(_number, lambda *_, code=_code: os._exit(code))

from sersl.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
