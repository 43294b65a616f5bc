"""Faults of one line in live models: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("models/dynamic/read.py", "tests/models/test_dynamic_parts.py"): [
        ("merged by the wrong weight", "log_earlier - log_sum", "log_sum - log_earlier"),
        ("blocks out of order", "order = sorted(range(len(spans)), key=spans.__getitem__)", "order = list(range(len(spans)))"),
        ("pictures pass", "bool((positions == positions[:1]).all())", "bool((positions == positions[:1]).any())"),
        ("position_bias passes", '("position_bias", "cu_seq_lens_q")', '("cu_seq_lens_q",)'),
        ("flash restarts", "if flash and mask is None and call.restarts:", "if False:"),
        (
            "hooks stay",
            "        for hook in self._hooks:\n            hook.remove()\n        self._hooks.clear()\n",
            "        self._hooks.clear()\n",
        ),
        ("plain is never stock", "if cache is None and call.is_plain:", "if False:"),
    ],
    ("models/dynamic/cache.py", "tests/models/test_dynamic_parts.py"): [
        ("a room shared after it was left", "return held is self.view and writable", "return writable"),
        ("stale keys believed", "same = kept.fresh and kept", "same = kept"),
        ("length not compared", "and kept.length == call.past and writable", "and writable"),
        ("any plan", "if state.fingerprint != fingerprint:", "if False:"),
        (
            "rows that do not divide",
            "if rows % len(old) or len(new) not in (1, rows):",
            "if rows % len(old) and len(new) not in (1, rows):",
        ),
        ("tiled rows", "old.repeat_interleave(rows // len(old), 0)", "old.repeat(rows // len(old), 1)"),
        ("recompute continues", "if call.ladder.semantics == RECOMPUTE:", "if False:"),
        ("kept for training", " and not torch.is_grad_enabled()", ""),
    ],
    ("models/live.py", "tests/models/test_attach.py"): [
        ("tables 4,096 times further off", "ROUNDINGS = 3 * 2.0**-24", "ROUNDINGS = 3 * 2.0**-12"),
    ],
    ("models/live.py", "tests/models/test_latent.py"): [
        ("latent softmax is not set", "plain_softmax(module) * factor", "getattr(module, SCALING)"),
        ("latent softmax stays", "zip(self.table.latent, self.softmax, strict=True)", "()"),
    ],
    ("models/attach.py", "tests/models/test_latent.py"): [
        ("latent softmax is not measured", "abs(found / wanted - 1) > 1e-6", "False"),
    ],
    ("models/dynamic/call.py", "tests/models/test_latent.py"): [
        ("latent softmax of one scale", "self.scaled(step).softmax_factor / base", "self.scaled(0).softmax_factor / base"),
    ],
    ("scaling/methods/yarn.py", "tests/models/test_latent.py"): [
        ("latent softmax not squared", "softmax_factor=sharper * sharper", "softmax_factor=sharper"),
    ],
    ("engines/transformers/write.py", "tests/models/test_latent.py"): [
        ("latent softmax not written", 'temperature["mscale_all_dim"] = softmax', "pass"),
        ("a ramp in turns drops the latent softmax", 'or options.get("softmax_mscale") or fast', "or fast"),
    ],
    ("models/attach.py", "tests/models/test_attach.py"): [
        ("one step of a schedule is enough", "for step in {0, last // 2, last}:", "for step in {0}:"),
    ],
    ("models/limits.py", "tests/models/test_limits.py"): [
        (
            "container ignored",
            "min(int(psutil.virtual_memory().available), _left_in_container())",
            "int(psutil.virtual_memory().available)",
        ),
    ],
    ("models/dynamic/call.py", "tests/models/test_dynamic_parts.py"): [
        ("a step late", "self.starts, right=True", "self.starts, right=False"),
        ("one beyond the reach", "if position >= self.reach:", "if position > self.reach:"),
        (
            "equal positions are one document",
            "pad(positions[:, 1:] <= positions[:, :-1], (1, 0))",
            "pad(positions[:, 1:] < positions[:, :-1], (1, 0))",
        ),
        (
            "window tail from the start",
            "first, last = first + known - length, last + known - length",
            "first, last = first, last",
        ),
        (
            "no grid, a token late",
            "(positions + 1 - self.schedule.original_length)",
            "(positions - self.schedule.original_length)",
        ),
        (
            "ends of all rows",
            'scatter_reduce(1, starts, positions, "amax", include_self=False)',
            'scatter_reduce(1, starts, positions, "amin", include_self=False)',
        ),
        ("triangle one off", "> self.tokens + rows", "> self.tokens + rows + 1"),
    ],
    ("models/dynamic/selftest.py", "tests/models/test_dynamic_parts.py"): [
        ("NaN agrees", "share if share == share else math.inf", "share if share == share else 0.0"),
        ("its own is blamed", "if its_own <= _allowed(model):", "if True:"),
        ("not across the step", "first = max(min(window - BEFORE, reach - COUNT), 0)", "first = 0"),
        ("loose", "torch.finfo(torch.float32).eps) ** 0.5)", "torch.finfo(torch.float32).eps) ** 0.01)"),
        (
            "one row",
            "for lengths in ((len(positions), max(len(positions) - SHORTER, 1)), (len(positions),)):",
            "for lengths in ((len(positions),),):",
        ),
        ("unnoticed cache", "if planned and getattr(cache, STATE, None) is None:", "if False:"),
    ],
}
