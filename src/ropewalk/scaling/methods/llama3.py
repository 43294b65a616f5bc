"""Llama 3.1 scaling."""

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, check_positive, method
from ropewalk.scaling.rope import Rope


@method("llama3", source="meta-llama/llama-models@43e87a3, models/llama3/reference_impl/model.py, apply_scaling")
def llama3(rope: Rope, factor: float, *, beta_fast: float = 4.0, beta_slow: float = 1.0) -> Scaled:
    """Three bands by wavelength: keep the short, divide the long by s, blend between.

        lambda_i < L / beta_fast:  theta'_i = theta_i
        lambda_i > L / beta_slow:  theta'_i = theta_i / s
        between:                   theta'_i = (1 - w) theta_i / s + w theta_i,
                                   w = (L / lambda_i - beta_slow) / (beta_fast - beta_slow)

    beta_fast, beta_slow: turns; high_freq_factor and low_freq_factor in the released config.

    Written from Meta's bands. It is the same function as ntk_by_parts with ramp="turns", and a test holds them together.
    """
    check_positive(beta_fast=beta_fast, beta_slow=beta_slow)
    if beta_fast < beta_slow:
        raise BadOption(f"beta_fast is {beta_fast:g} and beta_slow {beta_slow:g}; beta_fast must be the larger.")
    if factor == 1:
        return Scaled(rope.inv_freq)  # to the last bit, which the blend is not
    length = rope.original_length

    def banded(theta: float, wavelength: float) -> float:
        if wavelength < length / beta_fast:
            return theta
        if wavelength > length / beta_slow or beta_fast == beta_slow:
            return theta / factor
        kept = (length / wavelength - beta_slow) / (beta_fast - beta_slow)
        return (1 - kept) * theta / factor + kept * theta

    return Scaled(tuple(banded(*pair) for pair in zip(rope.inv_freq, rope.wavelength, strict=True)))
