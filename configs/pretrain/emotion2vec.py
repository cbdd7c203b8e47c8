"""emotion2vec: data2vec 2.0 on emotional speech, with the teacher's mean over the utterance.

Paper: emotion2vec (2312.15185), chunk embedding with ten tokens and equal weights. Its training
settings are not published; masking has the defaults of its code.
Differs: as data2vec2.py; the target of the utterance is the mean of layers standardized per frame,
since the mean over time of instance-normalized layers is 0 for every utterance; the teacher reads
the current tokens of the student, of which the published code keeps an average too.

Command: sersl pretrain --config configs/pretrain/emotion2vec.py:base --workdir runs/emotion2vec \
    --config.data.data_dir=data --config.data.corpora=iemocap,meld,msp_podcast \
    --config.init_from=runs/data2vec2
It continues data2vec 2.0; not all of the 262 h of emotional speech of the paper are available.
Presets: nano (tests), base (95 M parameters).
Time: nano seconds on a CPU; not measured for base.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {"nano": 20, "base": 100_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"emotion2vec_{preset}"
    config.frontend = frontend_preset(preset, frontend="waveform")
    config.frontend.update({"conv_norm": "layer", "normalize": "utterance", "gradient_scale": 1.0})
    config.frontend.conv_bias = True  # keeps gradients small where recordings are digitally silent
    config.encoder = encoder_preset(preset, frontend="waveform")
    config.encoder.update({"positions": "convolution_stack", "position_kernel": 19})
    config.masking = {
        "rule": "uniform",
        "fraction": 0.7,
        "span": 5,
        "replace": "remove",
        "clones": 8,
    }
    config.objectives = {
        "distill": {"weight": 1.0, "decoder": "convolution"},
        "utterance": {"weight": 1.0, "kind": "chunk", "tokens": 10},
    }
    config.teacher = {"decay_start": 0.999, "decay_end": 0.9999, "decay_steps": STEPS[preset]}
    config.collapse = {"after_steps": 5_000}
    config.optimizer = {"learning_rate": 7.5e-5, "warmup_fraction": 0.05}
    config.train = {"num_steps": STEPS[preset]}
    if preset == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.masking.clones = 2
        config.encoder.update({"position_layers": 1, "position_groups": 4})
        config.objectives.distill.update(
            {"decoder_width": 32, "decoder_layers": 1, "decoder_groups": 4}
        )
    else:
        config.data = {"seconds_per_batch": 500.0, "max_seconds": 20.0, "num_buckets": 6}
        config.encoder.update({"layer_drop": 0.05, "dtype": "bfloat16", "remat": "dots"})
    return config
