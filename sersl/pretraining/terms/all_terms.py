"""Every pretraining objective by name, which is the key of its settings under `objectives`."""

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.pretraining.masking import NO_RULE
from sersl.pretraining.terms.codes import BestRq, Clusters
from sersl.pretraining.terms.continued import Anchor, Functionals
from sersl.pretraining.terms.contrast import Instances, Multiview, Supervised
from sersl.pretraining.terms.distill import Distill, Utterance
from sersl.pretraining.terms.language import Language
from sersl.pretraining.terms.masked import Contrastive, Intensity, Prosody
from sersl.pretraining.terms.spectrum import Apc, Cpc, Npc, Penalty, Reconstruction
from sersl.pretraining.terms.statistics import Statistics
from sersl.pretraining.terms.teachers import Denoise, Layers, Vesper
from sersl.pretraining.terms.term import Term
from sersl.pretraining.terms.workers import Information, Workers

TERMS: dict[str, type[Term]] = {
    "contrastive": Contrastive,
    "prosody": Prosody,
    "intensity": Intensity,
    "distill": Distill,
    "utterance": Utterance,
    "clusters": Clusters,
    "best_rq": BestRq,
    "reconstruction": Reconstruction,
    "apc": Apc,
    "npc": Npc,
    "cpc": Cpc,
    "penalty": Penalty,
    "workers": Workers,
    "information": Information,
    "multiview": Multiview,
    "supervised": Supervised,
    "instances": Instances,
    "language": Language,
    "layers": Layers,
    "vesper": Vesper,
    "denoise": Denoise,
    "functionals": Functionals,
    "anchor": Anchor,
    "statistics": Statistics,
}


def make_terms(config: PretrainConfig) -> dict[str, Term]:
    """Makes the objectives whose weight is not 0, in the order of TERMS.

    Raises:
      UserError: all weights are 0, or the settings of an objective make no sense.
    """
    chosen = {
        name: term(config)
        for name, term in TERMS.items()
        if getattr(config.objectives, name).weight
    }
    if not chosen:
        raise UserError("every weight under objectives is 0: give one of them a weight")
    _check_masking(config, chosen)
    return chosen


def _check_masking(config: PretrainConfig, chosen: dict[str, Term]) -> None:
    """Refuses objectives without the masking that they need, and masking without an objective."""
    hides = config.masking.rule != NO_RULE
    for name, term in chosen.items():
        if term.masking == "needed" and not hides:
            raise UserError(
                f"objectives.{name} needs masked frames and masking.rule is 'none': "
                f"choose another rule or set objectives.{name}.weight to 0"
            )
        if term.reads_hidden and config.masking.replace == "remove":
            raise UserError(
                f"objectives.{name} uses the encoder's outputs at masked frames, and "
                "masking.replace 'remove' removes them from its input: use 'embedding', or "
                "objectives.distill with decoder 'convolution'"
            )
    if hides and all(term.masking == "none" for term in chosen.values()):
        raise UserError(
            f"objectives.{' and objectives.'.join(chosen)} hide what they predict by themselves, "
            f"so masking.rule {config.masking.rule!r} would only remove input: set it to 'none'"
        )
