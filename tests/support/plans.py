"""Static plans of every method, with the options that engines spell differently."""


def static_plans(pairs):
    """(method, options) by name.  pairs: of the rotary embedding, for longrope's list."""
    return {
        "none": ("none", {}),
        "linear": ("linear", {}),
        "ntk": ("ntk", {}),
        "rope_theta": ("rope_theta", {"rope_theta": 7_777_777.0}),
        "ntk_by_parts": ("ntk_by_parts", {}),
        "yarn": ("yarn", {}),
        "yarn, betas": ("yarn", {"beta_fast": 16.0, "beta_slow": 2.0}),
        "yarn, not rounded": ("yarn", {"truncate": False}),
        "yarn, m = 1.1": ("yarn", {"attention_factor": 1.1}),
        "yarn, slope 0.07": ("yarn", {"temperature_slope": 0.07}),
        "yarn, paper's ramp": ("yarn", {"ramp": "turns"}),
        "llama3": ("llama3", {}),
        "longrope": ("longrope", {"long_factor": tuple(1 + i / 7 for i in range(pairs))}),
        "proportional": ("proportional", {"proportion": 0.25}),
        "resonance": ("resonance", {}),
    }
