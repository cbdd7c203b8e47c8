"""Settings of the engine: optimizer, teacher, loop, mesh, checkpoints, detection of collapse."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """AdamW with warm-up, clipping by the global norm and decoupled weight decay."""

    learning_rate: float = setting(5e-4, "Peak learning rate.", above=0)
    schedule: str = setting(
        "cosine", "Learning rate after the warm-up: cosine, linear or constant."
    )
    warmup_fraction: float = setting(
        0.08, "Share of train.num_steps with linear warm-up.", at_least=0, at_most=1
    )
    end_fraction: float = setting(
        0.0, "Learning rate at the last step, as a share of the peak.", at_least=0, at_most=1
    )
    beta1: float = setting(0.9, "Decay of Adam's first moment.", at_least=0, below=1)
    beta2: float = setting(0.98, "Decay of Adam's second moment.", at_least=0, below=1)
    epsilon: float = setting(1e-6, "Added to the root of the second moment.", above=0)
    first_moment: str = setting(
        "float32", "Type of the first moment, float32 or bfloat16; the second is float32."
    )
    weight_decay: float = setting(0.01, "Decoupled weight decay.", at_least=0)
    decay: tuple[tuple[str, bool], ...] = setting(
        (),
        "(pattern, whether it decays) for every parameter path; the first match wins. Empty: "
        "matrices, filters and tables decay; biases, scales, gates and learned inputs do not.",
    )
    clip_norm: float = setting(1.0, "Largest global norm of the gradients.", above=0)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Settings):
    """Exponential moving average of the student, where an objective needs one."""

    decay_start: float = setting(
        0.999, "Decay at step 0 (data2vec, 2202.03555, sec. 4).", at_least=0, at_most=1
    )
    decay_end: float = setting(0.9999, "Decay from decay_steps on.", at_least=0, at_most=1)
    decay_steps: int = setting(30_000, "Steps of the linear change between the two.", at_least=0)


@dataclass(frozen=True, kw_only=True)
class CollapseConfig(Settings):
    """When pretraining stops because the representation has collapsed."""

    after_steps: int = setting(200, "Steps before the first check.", at_least=0)
    min_perplexity: float = setting(
        2.0, "Smallest perplexity of the batch's codes, per group of the quantizer.", at_least=0
    )
    min_variance: float = setting(
        1e-4, "Smallest variance of the encoder's output over the batch's real frames.", at_least=0
    )
    min_target_deviation: float = setting(
        0.1,
        "Smallest standard deviation of the teacher's averaged layers; fairseq's data2vec calls "
        "it variance.",
        at_least=0,
    )
    min_prediction_deviation: float = setting(
        0.01, "Smallest standard deviation of the student's predictions of them.", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """The training loop."""

    num_steps: int = setting(1000, "Number of updates.", at_least=1)
    accumulate_steps: int = setting(
        1, "Parts of a batch processed one after another, which needs less memory.", at_least=1
    )
    seed: int = setting(
        0, "Seed of weights, batches, masks and dropout.", at_least=0, at_most=2**32 - 1
    )
    log_every_steps: int = setting(10, "Steps between two lines of the log.", at_least=1)
    on_nan: str = setting(
        "stop",
        "At a loss or gradient that is not finite: stop the run, or skip the update.",
        choices=("stop", "skip"),
    )
    max_skipped: int = setting(
        10, "Consecutive skipped updates after which the run stops.", at_least=1
    )
    host_timeout_seconds: int = setting(
        45, "Seconds without a sign of another process before it counts as lost.", at_least=1
    )
    profile_from: int = setting(
        0, "Step before which a profile starts, written to <workdir>/profile.", at_least=0
    )
    profile_steps: int = setting(0, "Steps of the profile; 0 for none.", at_least=0)
    wandb: str = setting(
        "off",
        "Log to Weights & Biases: off, offline or online; needs sersl[wandb].",
        choices=("off", "offline", "online"),
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneTrainConfig(TrainConfig):
    """The training loop; fine-tuning may run it with several seeds."""

    seeds: tuple[int, ...] = setting(
        (),
        "Seeds of `sersl finetune` to train and test with, each in <workdir>/seeds/<seed>/; the "
        "scores are means over them. A single seed runs in <workdir> itself; empty: train.seed.",
        at_least=0,
        at_most=2**32 - 1,
    )


_REMAINING = (-1, "the devices that remain")


@dataclass(frozen=True, kw_only=True)
class MeshConfig(Settings):
    """Devices along each axis of the mesh; -1 on one axis takes the devices that remain."""

    data: int = setting(
        -1, "Copies of the train state, each with its own rows.", at_least=1, also=_REMAINING
    )
    fsdp: int = setting(
        1, "Parts of the train state, each with its own rows.", at_least=1, also=_REMAINING
    )
    tensor: int = setting(1, "Parts of each matrix product.", at_least=1, also=_REMAINING)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Settings):
    """When checkpoints are saved and which are kept; the last step is always saved and kept."""

    every_steps: int = setting(200, "Steps between two checkpoints.", at_least=1)
    keep_last: int = setting(2, "Latest checkpoints to keep.", at_least=1)
    keep_best: int = setting(
        0,
        "Also keep this many with the lowest mean loss since the previous checkpoint.",
        at_least=0,
    )
    keep_every_hours: float = setting(
        0.0, "Also keep the first checkpoint and one every so many hours; 0 for none.", at_least=0
    )
