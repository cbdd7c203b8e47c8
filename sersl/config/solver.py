"""Settings of heads in closed form, and of changed copies of the utterances to train on."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class SolverConfig(Settings):
    """How the heads of a frozen encoder get their weights."""

    kind: str = setting(
        "gradient",
        "gradient: by the optimizer, in train.num_steps updates. ridge: linear heads on the kept "
        "outputs of a frozen encoder by ridge regression in closed form, which uses no setting of "
        "optimizer, no dropout and no label smoothing, and is the same for every seed.",
        choices=("gradient", "ridge"),
    )
    penalties: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0, 3.0, 10.0),
        "ridge: penalties to choose from on training speakers that are left out in turn; the "
        "squared weights are summed over features and multiplied by the number of features.",
        above=0,
    )
    inner_folds: int = setting(
        4,
        "ridge: groups of training speakers, each left out once to choose the penalty and the "
        "scale of the outputs.",
        at_least=2,
        at_most=100,
    )
    balance_corpora: bool = setting(
        False,
        "ridge: every corpus weighs the same whatever its size, and with heads.class_weighting "
        "every category weighs the same inside of its corpus. Otherwise a category that only one "
        "of several corpora has is predicted too often for that corpus. data.weights gives corpora "
        "other weights than equal ones.",
    )
    nuisance_corpora: tuple[str, ...] = setting(
        (),
        "ridge: prepared corpora without emotions, such as read speech, whose differences between "
        "speakers the answers should not follow. The mean outputs of each of their speakers, or "
        "those of each utterance where a corpus names no speakers, become rows whose answer is the "
        "mean answer. Helps where few speakers have labels. No label of these corpora is read.",
    )
    nuisance_weights: tuple[float, ...] = setting(
        (0.0, 1.0),
        "ridge: weights of all rows of nuisance_corpora together, relative to all labelled rows, "
        "to choose from: the smallest, unless another one is better by more than a standard error "
        "on training speakers that are left out.",
        at_least=0,
    )
    side_weights: tuple[float, ...] = setting(
        (0.0, 0.3),
        "ridge with an encoder that has a side branch (continue_emotion.py): weights of the layers "
        "of the branch together, relative to those of its start, to choose from as in "
        "nuisance_weights. Empty: every single number weighs the same.",
        at_least=0,
    )
    view_weights: tuple[float, ...] = setting(
        (),
        "ridge with fusion.kind=early: weights of each further view to choose from as in "
        "nuisance_weights, 0 to leave the views out, 1 to trust each as a whole as much as the "
        "main encoder as a whole. Empty: every single number of all views weighs the same, so that "
        "a view of many numbers drowns one of few.",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(Settings):
    """Changed copies of every training utterance."""

    speeds: tuple[float, ...] = setting(
        (),
        "Speeds of further copies, such as 0.9,1.1, in which pitch and formants move, so that they "
        "sound like other speakers. Each costs a frozen encoder, whose outputs are kept, once "
        "more; otherwise they are made as they are read. Validation and test use the plain "
        "utterances, in fine-tuning unless views.average is set. In pretraining copies have no "
        "annotated intensity and prosody.",
        at_least=0.5,
        at_most=2.0,
    )

    @property
    def copies(self) -> tuple[float, ...]:
        """Speeds that make a copy: each once, without 1."""
        return tuple(speed for speed in dict.fromkeys(self.speeds) if speed != 1.0)


@dataclass(frozen=True, kw_only=True)
class FinetuneViewsConfig(ViewsConfig):
    """Changed copies of the utterances, to train on and to average over."""

    average: bool = setting(
        False,
        "Whether an answer on the validation and test side is the mean over the utterance and its "
        "copies at views.speeds: of probabilities, and of values of dimensions. The exported model "
        "averages too, so with two speeds it takes about three times as long.",
    )

    @property
    def averaged(self) -> tuple[float, ...]:
        """Speeds of the copies that answers are averaged over; () without `average`."""
        return self.copies if self.average else ()
