"""NPC and EMS on it: reconstruct each frame from its surroundings, in EMS its intensity too.

Papers: NPC (2011.00406); EMS (2406.06646) adds the intensity to the input, predicts it too and
hides 7 frames instead of 5. Settings of s3prl and of EMS's published code.
Differs: frames of 20 ms instead of 10 ms, so that the hidden frames last twice as long; LayerNorm
instead of BatchNorm; the codes of every group depend on the whole vector; the second target is the
intensity instead of its sum with the features.

Command: sersl pretrain --config configs/pretrain/npc.py:ems --workdir runs/npc_ems \
    --config.data.data_dir=data --config.data.corpora=iemocap
Presets: nano and nano_ems (tests), base (NPC) and ems (one GPU).
Time: nano seconds on a CPU; base and ems about a day, not measured.
Score: none measured here.
"""

from ml_collections import ConfigDict

STEPS = {"nano": 20, "nano_ems": 20, "base": 335_000, "ems": 335_000}


def get_config(preset: str = "base") -> ConfigDict:
    config = ConfigDict()
    config.name = f"npc_{preset}"
    config.frontend = {"normalize": "utterance"}
    config.encoder = {
        "kind": "masked_conv",
        "num_layers": 4,
        "width": 512,
        "kernel_frames": 15,
        "hidden_frames": 5,
    }
    config.masking = {"rule": "none"}
    config.objectives = {
        "npc": {"weight": 1.0, "groups": 4, "codes": 64, "width": 512},
    }
    config.optimizer = {"learning_rate": 1e-3, "schedule": "constant", "weight_decay": 0.0}
    config.optimizer.update({"warmup_fraction": 0.0, "beta2": 0.999, "epsilon": 1e-8})
    config.optimizer.clip_norm = 5.0
    config.train = {"num_steps": STEPS[preset]}
    config.data = {"seconds_per_batch": 480.0, "max_seconds": 15.0}
    if preset.endswith("ems"):
        # With 7 hidden frames, a kernel of 15 would leave the last of 4 blocks no input.
        config.encoder.update({"hidden_frames": 7, "kernel_frames": 17})
        config.knowledge = {"input": True, "input_dropout": 0.0}
        config.objectives.intensity = {"weight": 1.0, "hidden": 512}
    if preset.startswith("nano"):
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.update({"num_layers": 2, "width": 32})
        config.objectives.npc.update({"codes": 8, "width": 32})
    return config
