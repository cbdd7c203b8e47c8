"""Baselines without a network: what a classifier on statistics of the audio reaches.

The same folds, files, report and table as every other fine-tuning run. The inverse penalty C is
chosen on groups of training speakers that are left out in turn.

Paper: none; the features follow eGeMAPS (Eyben et al. 2016) and log-mel statistics.
Command: sersl finetune --config configs/finetune/baseline.py:functionals \
    --workdir runs/functionals --config.data.data_dir=data --config.data.corpora=ravdess \
    --config.protocol.name=emobox
Presets: majority; functionals, logmel and both with logistic regression; functionals_svm,
functionals_rbf, functionals_poly, logmel_rbf and logmel_poly with support vector machines; egemaps
with logistic regression on openSMILE's features (pip install 'sersl[opensmile]').
Time: functionals on RAVDESS, 10 CPU seconds once the features are kept.
Score: UAR on RAVDESS 0.568 (functionals), 0.425 (logmel), 0.125 (majority); see
docs/results/baselines.md.
"""

from ml_collections import ConfigDict

PRESETS = {
    "majority": ("majority", ()),
    "functionals": ("logistic", ("functionals",)),
    "functionals_svm": ("svm_linear", ("functionals",)),
    "functionals_rbf": ("svm_rbf", ("functionals",)),
    "functionals_poly": ("svm_poly", ("functionals",)),
    "logmel": ("logistic", ("logmel",)),
    "logmel_rbf": ("svm_rbf", ("logmel",)),
    "logmel_poly": ("svm_poly", ("logmel",)),
    "both": ("logistic", ("functionals", "logmel")),
    "egemaps": ("logistic", ("egemaps",)),
}


def get_config(preset: str = "functionals") -> ConfigDict:
    kind, features = PRESETS[preset]
    config = ConfigDict()
    config.name = f"baseline_{preset}"
    config.baseline = {"kind": kind, "features": features}
    # All training speakers are fitted; the penalty is chosen on groups of them.
    config.protocol = {"validation_fraction": 0.0, "final_model": False}
    return config
