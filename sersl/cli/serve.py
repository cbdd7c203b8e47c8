"""`sersl serve`: a model as a service on HTTP and WebSocket, with a page."""

import dataclasses
from argparse import Namespace

from sersl.cli.console.model_arguments import tables_of
from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.release.packaged.shipped import path_of
from sersl.release.predict.precision import check_precision
from sersl.release.serve.service_limits import Limits


def run(arguments: Namespace) -> int:
    """Serves a model until SIGTERM or Ctrl-C.

    Args:
      arguments: `model`, None for the one in the package, `host`, `port`, `precision`,
        `table`, `no_average`, `no_verify`, and the fields of `Limits`.

    Returns:
      The exit code, 0: everything that was taken is answered.

    Raises:
      UserError: `sersl[serve]` is not installed, the port is in use, or there is no such model.
    """
    check_precision(arguments.precision)
    names = [field.name for field in dataclasses.fields(Limits)]
    limits = Limits(**{name: getattr(arguments, name) for name in names})
    try:
        from sersl.release.serve import server
    except ImportError as error:
        raise UserError(f"serving needs Starlette and uvicorn: {install_hint('serve')}") from error
    with server.bind(arguments.host, arguments.port) as bound:
        model = server.load(
            arguments.model,
            verify_weights=not arguments.no_verify,
            precision=arguments.precision,
            tables=tables_of(arguments.table),
            average=not arguments.no_average,
        )
        name = path_of(arguments.model).resolve().name
        server.serve(model, bound, limits, name=name)
    return 0
