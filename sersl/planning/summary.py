"""A plan as JSON and as text."""

import jax

from sersl.parallel.chips import GIB
from sersl.planning.largest_batch import Choice
from sersl.planning.plan import Plan
from sersl.planning.times import Times, best_times, sent_by_kind


def plan_record(plan: Plan, *, hours: float, price: float | None = None) -> dict:
    """Converts a plan to JSON.

    Args:
      plan: the plan.
      hours: of audio in an epoch.
      price: of a chip-hour, in any currency; None leaves costs out.

    Returns:
      {"schema": 1, ...}: bytes are per device, FLOPs per step over all devices, times in seconds.
    """
    config, chip, times = plan.config, plan.topology.chip, best_times(plan)
    spare = plan.compiled.available_bytes - plan.compiled.peak_bytes
    record = {
        "schema": 1,
        "name": config.name,
        "topology": {
            "name": plan.topology.name,
            "devices": plan.num_devices,
            "slices": plan.topology.num_slices,
            "chip": chip._asdict(),
        },
        "mesh": plan.mesh_sizes,
        "encoder": {
            "dtype": config.encoder.dtype,
            "remat": config.encoder.remat,
            "scan_layers": config.encoder.scan_layers,
            "attention": plan.attention[0],
            "attention_note": plan.attention[1],
        },
        "batch": {
            "rows": plan.bucket.rows,
            "rows_per_device": plan.rows_per_device,
            "seconds_per_row": plan.bucket.seconds,
            "accumulate_steps": config.train.accumulate_steps,
        },
        "parameters": {"total": sum(plan.num_params.values()), **plan.num_params},
        "memory": {
            **plan.memory._asdict(),
            "peak": plan.compiled.peak_bytes,
            "available": plan.compiled.available_bytes,
            "spare": spare,
            "fits": plan.compiled.fits,
        },
        "flops": {"model": plan.model_flops, "hardware": plan.hardware_flops},
        "memory_traffic": plan.compiled.memory_traffic,
        "collectives": [one._asdict() for one in sent_by_kind(plan)],
        "left_whole": [one._asdict() for one in plan.whole],
        "times": None if times is None else times._asdict(),
        "notes": plan.compiled.notes,
        "compile": {
            "seconds": plan.compiled.seconds,
            "cpu_seconds": plan.compiled.cpu_seconds,
            "host_bytes": plan.compiled.host_bytes,
        },
        "versions": {"jax": jax.__version__},
    }
    if times is not None:
        record["audio"] = {
            "hours": hours,
            "days": times.days_for(hours),
            "chip_hours": times.chip_hours_for(hours, plan.num_devices),
        }
        if price is not None:
            epoch, run = _costs(plan, times, hours=hours, price=price)
            record["cost"] = {"price_per_chip_hour": price, "epoch": epoch, "run": run}
    return record


def plan_text(plan: Plan, *, hours: float, price: float | None = None) -> str:
    """Formats a plan as lines for a terminal.

    Args:
      plan: the plan.
      hours: of audio in an epoch.
      price: of a chip-hour, in any currency; None leaves costs out.
    """
    compiled, memory, times = plan.compiled, plan.memory, best_times(plan)
    sizes = " ".join(f"{axis}={size}" for axis, size in plan.mesh_sizes.items())
    encoder = plan.config.encoder
    lines = [
        f"{plan.config.name} on {plan.topology.title}",
        f"  mesh         {plan.num_devices} devices as {sizes}",
        f"  batch        {plan.bucket.rows} rows of {plan.bucket.seconds:.2f} s, "
        f"{plan.rows_per_device} per device, accumulated in "
        f"{plan.config.train.accumulate_steps} part(s)",
        f"  encoder      {encoder.dtype}, remat {encoder.remat}, attention {_attention(plan)}, "
        f"layers {'scanned' if encoder.scan_layers else 'unrolled'}",
        f"  parameters   {sum(plan.num_params.values()):,} ("
        + ", ".join(f"{name} {count:,}" for name, count in plan.num_params.items())
        + ")",
        "  memory per device, GiB",
        *(f"    {kind:<12} {count / GIB:8.3f}" for kind, count in memory._asdict().items()),
        f"    {'peak':<12} {compiled.peak_bytes / GIB:8.3f} of {compiled.available_bytes / GIB:.2f}"
        f": {_verdict(plan)}",
    ]
    for one in plan.whole:
        lines.append(
            f"  replicated   {one.path} {one.shape}, {one.num_bytes / 2**20:.1f} MiB: {one.why}"
        )
    for sent in sent_by_kind(plan):
        reach = ", across slices or nodes" if sent.crosses else ""
        lines.append(
            f"  sent         {sent.sent / 2**20:10.2f} MiB per device and step by {sent.runs} "
            f"{sent.kind} along {'+'.join(sent.axes)}{reach}"
        )
    lines.append(
        f"  FLOPs        {plan.model_flops:.3e} per step required, {plan.hardware_flops:.3e} done"
    )
    if times is not None:
        lines += [
            f"  at best, ms  compute {1e3 * times.compute:.2f}, memory {1e3 * times.memory:.2f}, "
            f"links {1e3 * times.links:.2f}, network {1e3 * times.network:.2f}",
            f"  a step       {1e3 * times.step:.2f} ms (MFU {times.mfu:.0%}) if all overlaps, "
            f"{1e3 * times.step_in_turn:.2f} ms (MFU {times.mfu_in_turn:.0%}) if nothing does",
            f"  audio        {times.audio_hours_per_hour:,.0f} hours per hour; an epoch of "
            f"{hours:,.0f} hours in {times.days_for(hours):.3g} days, "
            f"{times.chip_hours_for(hours, plan.num_devices):,.0f} chip-hours; "
            f"train.num_steps={plan.config.train.num_steps:,} in {times.run_hours:,.1f} hours",
        ]
        if price is not None:
            epoch, run = _costs(plan, times, hours=hours, price=price)
            lines.append(
                f"  cost         at least {epoch:,.2f} for an epoch and {run:,.2f} for "
                f"train.num_steps, at {price:,.4g} per chip-hour"
            )
    elif price is not None:
        lines.append("  cost         unknown, as the compiler does not report the memory traffic")
    lines += [f"  note         {note}" for note in compiled.notes]
    lines.append(
        f"  compiled in {compiled.seconds:.0f} s ({compiled.cpu_seconds:.0f} s of CPU time) with "
        f"{compiled.host_bytes / GIB:.1f} GiB of memory on this machine"
    )
    return "\n".join(lines)


def _costs(plan: Plan, times: Times, *, hours: float, price: float) -> tuple[float, float]:
    """Bounds the cost of an epoch over so many hours of audio, and of `train.num_steps`."""
    return (
        price * times.chip_hours_for(hours, plan.num_devices),
        price * times.run_hours * plan.num_devices,
    )


def _attention(plan: Plan) -> str:
    name, why = plan.attention
    return f"{name} ({why})" if why else name


def _verdict(plan: Plan) -> str:
    spare = plan.compiled.available_bytes - plan.compiled.peak_bytes
    return (
        f"fits, {spare / GIB:.2f} to spare"
        if plan.compiled.fits
        else (f"DOES NOT FIT, {-spare / GIB:.2f} too much")
    )


def choices_text(choices: list[Choice]) -> str:
    """Formats the choices of `largest_batch.fit` as a table."""
    lines = ["remat   rows per device   too many   peak GiB   audio hours per hour at best"]
    for choice in choices:
        if choice.plan is None:
            lines.append(f"{choice.remat:<7} not even {choice.smallest} row(s) per device fit")
            continue
        times = best_times(choice.plan)
        rate = "?" if times is None else f"{times.audio_hours_per_hour:,.0f}"
        lines.append(
            f"{choice.remat:<7} {choice.plan.rows_per_device:>15}   {choice.too_many or '?':>8}   "
            f"{choice.plan.compiled.peak_bytes / GIB:8.2f}   {rate}"
        )
    return "\n".join(lines)
