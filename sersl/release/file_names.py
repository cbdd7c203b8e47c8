"""Names of files and folders in a model folder."""

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
ABOUT = "sersl.json"
CARD = "README.md"
FILES = (CONFIG, PREPROCESSOR, WEIGHTS, ABOUT, CARD)
ONNX_FOLDER = "onnx"
TRITON_FOLDER = "triton"
STABLEHLO_FOLDER = "stablehlo"
PEFT_FOLDER = "adapter"  # transformers would apply files beside config.json to the merged weights
