"""`sersl plan`: reports what a run would cost on hardware that need not be present."""

import functools

import jax

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.core.files import write_json
from sersl.planning.largest_batch import cheapest, fit
from sersl.planning.plan import make_plan
from sersl.planning.summary import choices_text, plan_record, plan_text
from sersl.planning.topology import describe_topology


def run(arguments) -> int:
    """Plans a pretraining run.

    Args:
      arguments: `config`, `topology`, `slices`, `rows_per_device`, `hours`,
        `price_per_chip_hour`, `fit`, `output`, `overrides`.

    Returns:
      The exit code: 0, also if the run does not fit.
    """
    config = load_config(PretrainConfig, arguments.config, arguments.overrides)
    # Nothing runs, so an accelerator of this machine is neither needed nor reserved.
    jax.config.update("jax_platforms", "cpu")
    topology = describe_topology(arguments.topology, slices=arguments.slices)
    plan = make_plan(config, topology, rows_per_device=arguments.rows_per_device)
    amounts = {"hours": arguments.hours, "price": arguments.price_per_chip_hour}
    print(plan_text(plan, **amounts), flush=True)
    record = plan_record(plan, **amounts)
    if arguments.fit:
        choices = fit(config, plan, report=functools.partial(print, flush=True))
        print(choices_text(choices))
        chosen = cheapest(choices, plan.rows_per_device)
        print(
            f"{plan.rows_per_device} rows per device fit under no policy: use more devices, a "
            "larger mesh.fsdp or train.accumulate_steps"
            if chosen is None
            else f"cheapest for {plan.rows_per_device} rows per device: "
            f"encoder.remat={chosen.remat}"
        )
        record["fit"] = {
            "cheapest_remat": None if chosen is None else chosen.remat,
            "largest": {
                choice.remat: None if choice.plan is None else plan_record(choice.plan, **amounts)
                for choice in choices
            },
            "too_many_rows": {choice.remat: choice.too_many for choice in choices},
        }
    if arguments.output:
        write_json(arguments.output, record)
        print(f"written: {arguments.output}")
    return 0
