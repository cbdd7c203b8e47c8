"""What the settings of all objectives share."""

from dataclasses import dataclass

from sersl.config.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Objective(Settings):
    """One term of the pretraining loss."""

    weight: float = setting(
        0.0, "Weight of the objective in the loss; 0 leaves it out.", at_least=0
    )
