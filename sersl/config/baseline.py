"""Settings of the baselines: classifiers on statistics of the audio, without an encoder."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(Settings):
    """A classifier that is fitted in place of the encoder and its heads."""

    kind: str = setting(
        "none",
        "none trains the encoder and its heads. majority: the shares of the training labels, and "
        "the mean rating. logistic: multinomial logistic regression, and ridge regression of "
        "dimensions. svm_linear, svm_rbf, svm_poly: support vector machines; poly has degree 3.",
        choices=("none", "majority", "logistic", "svm_linear", "svm_rbf", "svm_poly"),
    )
    features: tuple[str, ...] = setting(
        ("functionals",),
        "What is classified, side by side: functionals (statistics of pitch, loudness, spectrum "
        "and voice quality), logmel (mean and deviation of every mel band), egemaps (openSMILE, "
        "needs the extra opensmile).",
        choices=("functionals", "logmel", "egemaps"),
    )
    penalties: tuple[float, ...] = setting(
        (),
        "Values of the inverse penalty C to choose from on speakers of the training side; empty: "
        "those of the kind.",
        above=0,
    )
    inner_folds: int = setting(
        4,
        "Groups of training speakers, each left out once to choose C, where the protocol leaves "
        "no validation speakers.",
        at_least=2,
        at_most=100,
    )
