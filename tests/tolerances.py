"""Every tolerance of the tests, in one place. They are not loosened to make a test pass."""

FP32 = {"rtol": 1e-5, "atol": 1e-5}  # one layer or loss against a numpy reference
FP32_DEEP = {"rtol": 1e-4, "atol": 1e-4}  # a whole encoder, padded against alone
GRADIENT = {"rtol": 1e-3, "atol": 1e-4}  # against central differences in float64
LOSS_ACROSS_MESHES = {"rtol": 1e-5, "atol": 1e-5}
METRIC = {"rtol": 1e-9, "atol": 1e-9}  # a metric in float64 against another library
