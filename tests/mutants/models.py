"""Faults of one line in live models: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("models/dynamic/kernels.py", "tests/models/test_near.py"): [
        ("merged by the wrong weight", "torch.sigmoid(sums - logs)", "torch.sigmoid(logs - sums)"),
        ("sums of parts forgotten", "logs.copy_(torch.logaddexp(logs, sums))", "pass"),
        ("near and far by the wrong weight", "torch.sigmoid(second[1] - first[1])", "torch.sigmoid(first[1] - second[1])"),
        (
            "a window of one more",
            "key[:, :, 1:n].flip(2), value[:, :, 1:n].flip(2)",
            "key[:, :, : n - 1].flip(2), value[:, :, : n - 1].flip(2)",
        ),
        ("the rest of a window left out", "    if n < window:\n", "    if False:\n"),
        ("a kernel that is wrong is believed", "<= 16 * max(", "<= 1e9 * max("),
        (
            "scale of doubled channels",
            'kwargs.get("scaling") or getattr(module, "scaling", None) or q_far.shape[-1] ** -0.5',
            "(2 * q_far.shape[-1]) ** -0.5",
        ),
    ],
    ("models/dynamic/near.py", "tests/models/test_near.py"): [
        (
            "far from w + 1 on",
            "far = torch.arange(far_end, device=like.device) <= mine - self.w",
            "far = torch.arange(far_end, device=like.device) < mine - self.w",
        ),
        ("near at w", "zip((behind >= w, behind < w), spans", "zip((behind > w, behind <= w), spans"),
        ("a near key too few is spelt out", "max(first - self.w + 1, 0), last", "max(first - self.w + 2, 0), last"),
        ("a far key too few is spelt out", "(0, max(last - self.w, 0)),", "(0, max(last - self.w - 1, 0)),"),
        ("no gain", "query = query * gain.to(query.dtype)", "pass"),
        ("kept keys of another step believed", "same = kept.fresh and kept.steps == steps and", "same = kept.fresh and"),
        ("stale keys believed", "same = kept.fresh and kept.steps", "same = kept.steps"),
        ("jumps taken for columns", "contiguous = call.is_even and not", "contiguous = not"),
    ],
    ("models/dynamic/ladder.py", "tests/models/test_near.py"): [
        ("pairs of other groups turn too", "inv_freq * pairs if len(groups) > 1 else inv_freq", "inv_freq"),
        ("one size for all pairs", "for size in dict.fromkeys(group)]", "for size in group[:1]]"),
        ("no shift at w", "torch.full_like(positions[:1, :1], self.near)", "torch.full_like(positions[:1, :1], 0)"),
        (
            "m once",
            "self.in_groups(inv_freq, m * m, groups, positions, like)",
            "self.in_groups(inv_freq, m, groups, positions, like)",
        ),
        (
            "near without m",
            "return self.rotated_by(trained, m * m, positions, like)",
            "return self.rotated_by(trained, 1.0, positions, like)",
        ),
        ("groups not whole", "else positions // size * size", "else positions"),
        ("the wrong token ahead", "half[:, position % AHEAD, None]", "half[:, 0, None]"),
    ],
    ("models/dynamic/call.py", "tests/models/test_near.py"): [
        ("any mask is plain", 'answer: bool = self.once("hides", mask, look)', "answer: bool = True"),
    ],
    ("models/carried.py", "tests/models/test_while_attached.py"): [
        ("live: the plan's window is read", 'text_of(config)["max_position_embeddings"] = found.window', "pass"),
        ("live: saved as it does not rotate", "if not plan.is_one_table:", "if True:"),
        ("live: saved with the plan's window", '{"max_position_embeddings": found.window, **said}', "{**said}"),
    ],
    ("models/dynamic/turns.py", "tests/models/test_while_attached.py"): [
        ("live: no turns", "with lock:", "if True:"),
        ("live: a forward of its own is forgotten", "if BEFORE in module.__dict__:", "if False:"),
    ],
    ("models/dynamic/read.py", "tests/models/test_while_attached.py"): [
        ("live: another attention unseen", "if not str(found).startswith(OURS):", "if False:"),
    ],
    ("models/same_weights.py", "tests/api/test_extend.py"): [
        ("live: the last row unseen", "{0, shape[0] // 2, shape[0] - 1}", "{0, shape[0] // 2}"),
        ("live: another shape passes", "if list(weight.shape) != shape:", "if False:"),
    ],
    ("models/dynamic/read.py", "tests/models/test_dynamic_parts.py"): [
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
    ("models/dynamic/ladder.py", "tests/models/test_latent.py"): [
        ("latent softmax of one scale", "self.scaled(step).softmax_factor / base", "self.scaled(0).softmax_factor / base"),
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
    ("models/dynamic/ladder.py", "tests/models/test_dynamic_parts.py"): [
        ("a step late", "self.starts, right=True", "self.starts, right=False"),
        ("one beyond the reach", "if position >= self.reach:", "if position > self.reach:"),
        (
            "equal positions are one document",
            "pad(positions[:, 1:] <= positions[:, :-1], (1, 0))",
            "pad(positions[:, 1:] < positions[:, :-1], (1, 0))",
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
    ],
    ("models/dynamic/call.py", "tests/models/test_dynamic_parts.py"): [
        ("blocks out of order", "found = sorted(found, key=lambda piece: piece[0])", "found = list(found)"),
        (
            "window tail from the start",
            "first, last = first + known - length, last + known - length",
            "first, last = first, last",
        ),
        ("triangle one off", "> self.tokens + rows", "> self.tokens + rows + 1"),
    ],
    ("models/dynamic/selftest.py", "tests/models/test_versions.py"): [
        ("halves as they are", "if off > allowed and _is_small(model):", "if False:"),
    ],
    ("models/dynamic/traced.py", "tests/models/test_dynamic_compiled.py"): [
        ("near one less", "self.positions - positions >= ladder.near", "self.positions - positions > ladder.near"),
        (
            "the other way round",
            "return (far[0].to(self._like.dtype), far[1].to(self._like.dtype)), (cos, -sin)",
            "return (far[0].to(self._like.dtype), far[1].to(self._like.dtype)), (cos, sin)",
        ),
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
