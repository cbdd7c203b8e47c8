"""Settings of learning from the answers of a finished run, and from the model's own last layer."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Settings):
    """Knowledge distillation in fine-tuning; see docs/training_ideas.md."""

    teacher: str = setting(
        "",
        "Workdir of a finished `sersl finetune` run of the same corpora, protocol and folds, whose "
        "answers are learned beside the labels (born-again networks); empty: none.",
    )
    kind: str = setting(
        "logits",
        "logits: divergence from the teacher's probabilities. decoupled: of the target and of the "
        "other categories apart (DKD). cubic: logits, and similarities between the utterances of "
        "a batch.",
        choices=("logits", "decoupled", "cubic"),
    )
    weight: float = setting(1.0, "Weight of the loss against the teacher.", at_least=0)
    temperature: float = setting(
        4.0,
        "Divides scores of teacher and student; the loss is times its square.",
        above=0,
    )
    target_weight: float = setting(
        1.0, "decoupled: weight of the target category (alpha).", at_least=0
    )
    other_weight: float = setting(
        8.0, "decoupled: weight of the other categories (beta).", at_least=0
    )
    relation_weight: float = setting(
        1.0, "cubic: weight of the similarities between utterances.", at_least=0
    )
    labels: str = setting(
        "given",
        "given: labels stay. missing: utterances of the training side without a category get the "
        "teacher's. noisy: so do those whose category the teacher contradicts.",
        choices=("given", "missing", "noisy"),
    )
    confidence: float = setting(
        0.9,
        "missing, noisy: least probability of the teacher's category.",
        at_least=0,
        at_most=1,
    )
    exit_weight: float = setting(
        0.0,
        "Weight of heads on the inner layers of the encoder, which learn the labels and the output "
        "of the last layer (layer-wise self-distillation).",
        at_least=0,
    )
    exit_share: float = setting(
        0.3, "exit_weight: share of the last layer's answers in the targets.", at_least=0, at_most=1
    )
    exit_hint: float = setting(
        0.03, "exit_weight: weight of the distance to the last layer's mean vector.", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class CoTeachingConfig(Settings):
    """Two heads that choose the rows of small loss for each other, against wrong labels."""

    noise: float = setting(
        0.0,
        "Share of the labelled rows of a batch that each head leaves out for the other, those of "
        "largest loss (co-teaching); 0: one head, all rows.",
        at_least=0,
        below=1,
    )
    ramp: float = setting(
        0.05, "Share of the steps after which noise is reached, linearly.", above=0, at_most=1
    )


@dataclass(frozen=True, kw_only=True)
class EnrolmentConfig(Settings):
    """What is known of a speaker before prediction: some of the speaker's utterances."""

    utterances: int = setting(
        0,
        "Utterances of each speaker whose mean is subtracted from the kept outputs of all of the "
        "speaker's utterances, and which are not tested; 0: none.",
        at_least=0,
        at_most=10_000,
    )
    category: str = setting(
        "", "Category of these utterances, such as neutral; empty: any, without their labels."
    )
