"""Faults of one line in the mathematics: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("scaling/methods/yarn.py", "tests/models/test_latent.py"): [
        ("latent softmax not squared", "softmax_factor=sharper * sharper", "softmax_factor=sharper"),
    ],
    ("scaling/names.py", "tests/scaling/test_near.py"): [
        ("half by default lost", "HALF = 0.5", "HALF = 0.25"),
        ("static is causal", "None if rest == [STATIC] else", "Dynamic() if rest == [STATIC] else"),
        ("log_n not read", "log_n = rest[:1] == [LOG_N]", "log_n = False"),
        ("a share of 1", "if 0 < share < 1:", "if 0 < share:"),
    ],
    ("scaling/stretch.py", "tests/scaling/test_near.py"): [
        ("dynamic s not clamped at 1", "min(max(1.0, far), self", "min(max(0.5, far), self"),
        ("dynamic s = L / l", "max(1.0, far)", "max(1.0, 1 / far)"),
        ("dynamic s not capped", "max(1.0, far), self.largest_scale)", "max(1.0, far), 1e9)"),
        (
            "w not taken off",
            "return (self.target_length - self.near) / (self.rope.original_length - self.near)",
            "return self.factor * 1.0",
        ),
        (
            "a far table for every distance",
            "        if self.near:\n            raise CannotExpress(",
            "        if False:\n            raise CannotExpress(",
        ),
        (
            "w as long as the window",
            "1 <= self.near < self.rope.original_length",
            "1 <= self.near <= self.rope.original_length",
        ),
        ("near is one table", "return not self.dynamic and not self.near", "return not self.dynamic"),
        ("exports keep near", "return replace(self, near=0,", "return replace(self, near=self.near,"),
    ],
    ("scaling/schedule.py", "tests/scaling/test_near.py"): [
        ("steps begin w too early", "found.append(self.near + _whole", "found.append(_whole"),
        ("steps as long as without near", "return self.original_length - self.near", "return self.original_length"),
    ],
    ("scaling/ramp.py", "tests/scaling/test_ramp.py"): [
        ("inverted ramp", "(1 - share) * theta + share * theta / factor", "share * theta + (1 - share) * theta / factor"),
        (
            "betas swapped",
            "start, end = rope.pair_turning(beta_fast), rope.pair_turning(beta_slow)",
            "start, end = rope.pair_turning(beta_slow), rope.pair_turning(beta_fast)",
        ),
        ("floor for ceil", "math.floor(start), math.ceil(end)", "math.floor(start), math.floor(end)"),
        ("round for floor", "math.floor(start), math.ceil(end)", "round(start), math.ceil(end)"),
        ("round for ceil", "math.floor(start), math.ceil(end)", "math.floor(start), round(end)"),
        ("ramp clamped to d/2 - 1", "min(end, rope.rotary_dim - 1)", "min(end, rope.rotary_dim // 2 - 1)"),
        ("ramp not clamped at 0", "max(start, 0), min(end", "start, min(end"),
        ("truncate ignored", "    if truncate:\n", "    if True:\n"),
        ("turns ramp in logarithms", "(beta_fast - turns) / (beta", "math.log(beta_fast / turns) / math.log(beta"),
        ("s forgotten", "share * theta / factor", "share * theta"),
        ("s = 1 not exact", "if factor == 1:", "if factor < 1:"),
    ],
    ("scaling/methods/yarn.py", "tests/scaling/test_ramp.py"): [
        ("m = 1", "temperature_slope * math.log(factor) + 1.0", "0 * math.log(factor) + 1.0"),
        ("m squared", "math.log(factor) + 1.0 if", "math.log(factor) * 2 + 1.0 if"),
        ("log2 for ln", "math.log(factor)", "math.log2(factor)"),
        ("attention_factor a multiplier", "else attention_factor\n", "else attention_factor * 1.1\n"),
    ],
    ("scaling/rope.py", "tests/scaling/test_rope.py"): [
        ("2 pi forgotten in pair_turning", "math.log(2 * math.pi)", "math.log(1)"),
        ("2 pi forgotten in the wavelength", "2 * math.pi / theta for", "1 / theta for"),
        ("exponent i/d for 2i/d", "(-2 * i / self.rotary_dim)", "(-i / self.rotary_dim)"),
    ],
    ("scaling/methods/ntk.py", "tests/scaling/test_methods.py"): [
        ("ntk exponent 1", "(rope.rotary_dim / (rope.rotary_dim - 2))", "1"),
    ],
    ("scaling/methods/linear.py", "tests/scaling/test_methods.py"): [
        ("linear does nothing", "theta / factor", "theta"),
        ("linear multiplies", "theta / factor", "theta * factor"),
    ],
    ("scaling/methods/llama3.py", "tests/scaling/test_methods.py"): [
        ("llama3 bands swapped", "wavelength < length / beta_fast", "wavelength > length / beta_fast"),
        ("llama3 blend inverted", "(1 - kept) * theta / factor + kept", "kept * theta / factor + (1 - kept)"),
    ],
    ("scaling/methods/longrope.py", "tests/scaling/test_methods.py"): [
        ("short and long swapped", "long_factor if factor > 1 else short", "short_factor if factor > 1 else long"),
        ("longrope m without the root", "math.sqrt(1 + math", "(1 + math"),
    ],
    ("scaling/methods/proportional.py", "tests/scaling/test_methods.py"): [
        ("proportional over the rotated part", "rope.rotary_dim // 2)", "rope.rotary_dim // 4)"),
    ],
    ("scaling/methods/resonance.py", "tests/scaling/test_methods.py"): [
        ("resonance rounds down", "round(2 * math.pi", "math.floor(2 * math.pi"),
    ],
    ("scaling/stretch.py", "tests/scaling/test_plan.py"): [],
    ("scaling/plan.py", "tests/scaling/test_plan.py"): [
        ("target for original length", "(target_length or 1) / rope.original_length", "(target_length or 1) / 4096"),
        ("fingerprint holds the model's name", '        del data["model"]\n', ""),
    ],
    ("scaling/plan.py", "tests/engines/test_class_defaults.py"): [
        ("pairs that stand still are turned", "if still and named.method != still.method:", "if False:"),
        ("none turns pairs that stand still", "return dataclasses.replace(still, factor=1.0)", "pass"),
    ],
    ("scaling/spec.py", "tests/scaling/test_plan.py"): [
        ("sliding layers stretched", 'startswith(("sliding", "chunked", "local"))', 'startswith(("chunked", "local"))'),
        ("cache ignores its window", "min(length, group.window or length)", "length"),
    ],
    ("scaling/method.py", "tests/scaling/test_methods.py"): [
        ("logits by m", "logits = sharper * sharper", "logits = sharper"),
        ("softmax apart from what rotates", "logits = sharper * sharper * softmax", "logits = sharper * sharper"),
        ("softmax of what does not rotate", "if _ratio(softmax, 1.0) > _ratio(logits, 1.0):", "if False:"),
    ],
}
