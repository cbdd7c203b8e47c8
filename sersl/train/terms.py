"""Every objective of pretraining by name; the key is that of its settings under `objectives`."""

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.train.term import Term
from sersl.train.terms_masked import Contrastive, Distill, Intensity, Prosody

TERMS: dict[str, type[Term]] = {
    "contrastive": Contrastive,
    "prosody": Prosody,
    "intensity": Intensity,
    "distill": Distill,
}


def make_terms(config: PretrainConfig) -> dict[str, Term]:
    """Makes the objectives whose weight is not 0.

    Args:
      config: the run.

    Returns:
      Name to objective, in the order of TERMS.

    Raises:
      UserError: none has a weight, or the settings of one make no sense.
    """
    chosen = {
        name: term(config)
        for name, term in TERMS.items()
        if getattr(config.objectives, name).weight
    }
    if not chosen:
        raise UserError("every weight under objectives is 0: give one of them a weight")
    return chosen
