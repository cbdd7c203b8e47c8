"""Explains keys that sersl does not have: misspelt ones, and those of other programs."""

from collections.abc import Sequence

from sersl.core.errors import UserError, unknown_name

# Last part of a key in other programs to the setting here.
ELSEWHERE = {
    "lr": "optimizer.learning_rate",
    "batch_size": "data.seconds_per_batch",
    "epochs": "train.num_steps",
    "num_epochs": "train.num_steps",
    "max_epochs": "train.num_steps",
    "max_steps": "train.num_steps",
    "steps": "train.num_steps",
    "warmup_steps": "optimizer.warmup_fraction",
    "grad_clip": "optimizer.clip_norm",
    "gradient_accumulation_steps": "train.accumulate_steps",
    "precision": "encoder.dtype",
    "fp16": "encoder.dtype",
    "bf16": "encoder.dtype",
    "num_workers": "data.processes",
    "pretrained": "init_from",
}
UNFREEZE = "unfreeze"


def unknown_key(key: str, known: Sequence[str]) -> UserError:
    """Builds the error for a configuration key that does not exist.

    Args:
      key: dotted, as the user wrote it.
      known: every setting, dotted.

    Returns:
      A UserError that names the setting that is probably meant.
    """
    last = key.rsplit(".", 1)[-1].lower()
    if "freez" in last or (last.startswith("frozen") and "teacher" not in last):
        return _freezing(key, known)
    if ELSEWHERE.get(last) in known:
        return UserError(f"unknown configuration key {key!r}: did you mean {ELSEWHERE[last]!r}?")
    error = unknown_name("configuration key", key, known)
    if "did you mean" in str(error) or len(known) <= 12:
        return error
    groups = sorted({name.partition(".")[0] for name in known})
    return UserError(f"unknown configuration key {key!r}: keys begin with {', '.join(groups)}")


def _freezing(key: str, known: Sequence[str]) -> UserError:
    if UNFREEZE in known:
        remedy = (
            "unfreeze sets the step from which parameters train, -1 for never, e.g. "
            "--config.unfreeze=\"(('encoder/.*', -1), ('.*', 0))\" freezes the encoder"
        )
    elif "frozen_teachers" in known:
        remedy = (
            "pretraining trains every parameter of the student; frozen_teachers names models that "
            "teach it, and fine-tuning freezes with its setting unfreeze"
        )
    else:
        remedy = "nothing is frozen here"
    return UserError(f"unknown configuration key {key!r}: {remedy}")
