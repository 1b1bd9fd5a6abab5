"""Federated averaging on scikit-learn's digits, every update through a real round.

Extra: `secagg[demo]`.
"""

try:
    # scipy, which scikit-learn brings, stumbles over a PyTorch that is there but cannot be imported
    import torch  # noqa: F401, I001
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the demo needs PyTorch and scikit-learn: pip install 'secagg[demo]'"
    ) from error
