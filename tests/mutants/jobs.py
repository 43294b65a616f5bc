"""Faults of one line in the jobs: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("jobs/choose/race.py", "tests/jobs/choose/test_race.py"): [
        ("answers weigh nothing", "100 * POINT * (1 - self.chance)", "0 * POINT * (1 - self.chance)"),
        ("every pair has the whole level", "return self.level / max(len(self.readings) - 1, 1)", "return self.level"),
        (
            "the better one leaves",
            "is_beaten(self.readings[name], self.readings[best],",
            "is_beaten(self.readings[best], self.readings[name],",
        ),
        ("any difference is a defeat", "(ours - its)[: found.stop].sum()) > 0", "(ours - its)[: found.stop].sum()) != 0"),
        ("the clock is looked at too late", "self.spent + self._round_costs() <= limit", "self.spent <= limit"),
        (
            "the better half is halved away",
            "out = [name for name in ordered[kept:]",
            "out = [name for name in ordered[:-kept]",
        ),
        ("who must stay is halved away", "if name not in self.keep]", "if name]"),
        ("other rounds are compared", "for reading in rows[:n]]", "for reading in rows[-n:]]"),
        ("all have a first turn", "else FIRST * self.seconds", "else self.seconds * 99"),
    ],
    ("jobs/choose/conclude.py", "tests/jobs/choose/test_conclude.py"): [
        ("a hair is a reason to stretch", "ALIKE = 3 * POINT", "ALIKE = 0.0"),
        (
            "who left early counts as worse",
            "rest = [name for name in raced.open if name not in raced.alive]",
            "rest: list[str] = []",
        ),
        ("too few rounds are those of the winner", "raced.behind(name, chosen).high", "raced.behind(name).high"),
        ("who is ahead is the winner", "raced.behind_once(name, chosen).low", "raced.behind_once(name).low"),
        ("speed the wrong way", "return its / ours if ours else None", "return ours / its if its else None"),
    ],
    ("jobs/choose/candidates.py", "tests/jobs/choose/test_candidates.py"): [
        ("who is refused goes before", "return not new.refused", "return bool(new.refused)"),
        ("a request is read at its own scale", "(name, _whole(stretch, plan.target_length))", "(name, stretch)"),
        ("a config's own factor", "factor=stretch.scale_at(length)", "factor=stretch.factor"),
        ("engines are asked of one", "for engine in wanted if", "for engine in wanted[:1] if"),
    ],
    ("jobs/choose/fitted.py", "tests/jobs/choose/test_fitted.py"): [
        ("a fit may take the whole budget", "if needed > SHARE * budget:", "if needed > budget:"),
        ("the same budget asks again", 'budget <= kept["budget"]', 'budget < kept["budget"]'),
        ("an interrupted fit needs room anew", 'if not kept or kept.get("why"):', "if True:"),
        ("another plan in its place", 'if plan.fingerprint != kept["plan"]:', "if False:"),
        ("an old run is shared out anew", "if there is not None and FITTING not in there:", "if False:"),
    ],
    ("jobs/fit/job.py", "tests/jobs/fit/test_search.py"): [
        ("earlier runs took no time", "budget.limit -= search.earlier", "pass"),
        ("a search alone reads other plans", " if sets.report else {}", ""),
    ],
    ("jobs/choose/texts.py", "tests/jobs/choose/test_fitted.py"): [
        ("what reports is fitted on", "order[1:n:2], order[n:])", "order[1:n:2], order[1:n:2])"),
    ],
    ("jobs/choose/job.py", "tests/jobs/choose/test_fitted.py"): [
        ("a fit costs nothing", "SHARE * (self.asked.budget - self.fitted)", "SHARE * self.asked.budget"),
        ("its seconds are not told", "made.seconds, self.spent + made.seconds", "made.seconds, self.spent"),
    ],
    ("jobs/fit/families/yarn.py", "tests/jobs/fit/test_families.py"): [
        ("growth the wrong way", "(scale / factor) ** u[3]", "(factor / scale) ** u[3]"),
    ],
    ("jobs/fit/families/near.py", "tests/jobs/fit/test_near_family.py"): [
        ("the schedule stays where w moves", "(scale - 1) / (length - w.item())", "0 / (length - w.item())"),
        ("w is not rounded", "round(exact.item())", "exact.item()"),
        ("no temperature", "(1 + SLOPE * point[7] * math.log(largest),)", "(1.0,)"),
        ("groups forgotten", "if u[-1] > WHOLE:\n", "if u[-1] > 2:\n"),
        ("static too", "must_be_dynamic=True", "can_be_dynamic=True"),
    ],
    ("jobs/fit/compare.py", "tests/jobs/fit/test_kept.py", "tests/jobs/fit/test_compare.py"): [
        ("the gain is unpaired", "_difference((rows - fitted)[:,", "_difference((rows)[:,"),
        ("short and far swapped", "_mean(rows[:, : original - 1])", "_mean(rows[:, original - 1 :])"),
        ("bits of other documents", "[document.ids for document in read]", "[document.ids for document in documents]"),
        ("equal-tailed gain", "studentised(*_pooled(rows)).symmetric()", "studentised(*_pooled(rows)).equal_tailed()"),
        ("nats", "return nll.float().cpu().numpy() * BITS", "return nll.float().cpu().numpy()"),
        ("turns ramp forgotten", '("yarn", {"ramp": "turns"})', '("yarn", {})'),
    ],
    ("jobs/fit/search.py", "tests/jobs/fit/test_search.py"): [
        ("up the gradient", "space.inside(u - rate", "space.inside(u + rate"),
        ("a step without a number taken", "u = (u + home) / 2\n", "u = (u + slope) / 2\n"),
        ("no bias correction", "(1 - SECOND**steps)", "1"),
        ("rate never halves", "0.5 ** (steps / 16)", "1.0"),
        ("not smoothed", "smooth = u if steps <= BURN else", "smooth = u if True else"),
        ("nan argmin", "numpy.argmin(numpy.where(good, found, math.inf))", "numpy.argmin(found)"),
    ],
    ("jobs/evaluate/in_turn.py", "tests/jobs/evaluate/test_early.py"): [
        ("the order of names", "rows = [sums.documents.index(name) for name in order]", "rows = list(range(len(order)))"),
    ],
    ("jobs/evaluate/in_turn.py", "tests/jobs/evaluate/test_budget.py"): [
        ("a turn of all samples", "if s.index == n]", "if s.index >= 0]"),
        ("no room kept", "if cost and not clock.holds(cost + kept):", "if cost and not clock.holds(0.0):"),
        ("tried for ever", "self.rate = self.spent / self.read", "pass"),
    ],
    ("jobs/report/loss.py", "tests/jobs/report/test_verdicts.py"): [
        ("losses up to 0.1 nats are none", "NOISE = 1e-5", "NOISE = 1e-1"),
        ("a window reads on", "min(found.longest or 0, seen or found.longest or 0)", "found.longest or 0"),
        ("the judge is the method", "judge = REFERENCE if REFERENCE in sums else method", "judge = method"),
        ("two of two is enough", "share.low >= SHOWN * inside", "True"),
        ("half is as good", "share.value >= bar and share.low", "share.low"),
        ("the best task decides", "worst = max(each", "worst = min(each"),
        ("noise of the sum", "NOISE * BITS * stretch.counts", "NOISE * BITS"),
        ("value is enough", '"less" if gap.high < 0', '"less" if gap.value < 0'),
        ("open from inside", "if step.length > original), found", "if step.length >= original), found"),
    ],
    ("jobs/report/provenance.py", "tests/jobs/report/test_sections.py"): [
        ("the data is forgotten", 'for part in ("--data", source)]', "for part in ()]"),
        ("corpus is a document", "} - {CORPUS})", "})"),
        ("six digits", 'isinstance(value, float) and float(f"{value:g}") == value', "isinstance(value, float)"),
        ("windows as plans", " and not isinstance(plan, WindowPlan)]", "]"),
    ],
    ("jobs/train/loop.py", "tests/jobs/train/test_loop.py"): [
        (
            "gradients never clipped",
            "clip_grads_with_norm_(weights, most, norm.float())",
            "clip_grads_with_norm_(weights, 1e9, norm.float())",
        ),
        ("norms decay too", "(p.ndim > 1) is wide", "(p.ndim > 0) is wide"),
        ("another beta2", "BETAS = (0.9, 0.95)", "BETAS = (0.9, 0.999)"),
        ("the schedule is not applied", 'group["lr"] = rate', 'group["lr"] = self.stage.rate'),
        (
            "weight decay is not applied",
            '{"params": matrices, "weight_decay": stage.weight_decay}',
            '{"params": matrices, "weight_decay": 0.0}',
        ),
        ("the norm in float32", "dtype=torch.float64) for p in weights", "dtype=torch.float32) for p in weights"),
        ("gradients pile up", "        self.optimizer.zero_grad()\n", ""),
        (
            "skips add up",
            "now.updates, now.skipped = now.updates + 1, 0",
            "now.updates, now.skipped = now.updates + 1, now.skipped",
        ),
        ("one more skip", "now.skipped >= PATIENCE", "now.skipped > PATIENCE"),
        ("dropout the same each step", "now.stage * 10_007 + now.step)", "now.stage * 10_007)"),
        ("no autocast", "if bf16 and parallel.world == 1:", "if False:"),
        ("mask never given", "{} if self.by_spans else", "{} if True else"),
    ],
    ("jobs/fit/job.py", "tests/jobs/fit/test_job.py"): [
        (
            "chosen on the report documents",
            "for documents in (sets.fit, sets.choose))",
            "for documents in (sets.fit, sets.report))",
        ),
        (
            "searched on the choosing documents",
            "for documents in (sets.fit, sets.choose))",
            "for documents in (sets.choose, sets.choose))",
        ),
        ("one document again and again", "(BATCH * number + i) % len(self.items)", "i % len(self.items)"),
    ],
    ("jobs/doctor/live/judge.py", "tests/jobs/doctor/test_live_judge.py"): [
        ("FAIL without Bonferroni", "found.p_above(margin) <= LEVEL / looks", "found.p_above(margin) <= LEVEL"),
        ("PASS at level 0.2", "found.p_below(margin) <= LEVEL,", "found.p_below(margin) <= 4 * LEVEL,"),
        ("two-sided for keys", "found.p / 2 <= LEVEL / looks", "found.p <= LEVEL / looks"),
        ("more keys are a loss", "found.difference.value < 0 and ", ""),
        ("findings do not count", "if findings or FAIL in losses", "if FAIL in losses"),
    ],
    ("jobs/train/data/packing.py", "tests/jobs/train/test_packing.py"): [
        ("high words of the seed", "self.seed // 2**32, kind", "0, kind"),
        ("share rounded", "limit_denominator(10_000)", "limit_denominator(10)"),
    ],
    ("jobs/train/loss.py", "tests/jobs/train/test_loss.py"): [
        ("mode not restored", "    model.train(was_training)\n", ""),
    ],
    ("jobs/report/headline.py", "tests/jobs/report/test_headline.py"): [
        ("highest loss wins", '-last["value"] if', 'last["value"] if'),
        ("a window may head", 'max(stretched or made["verdicts"]', 'max(made["verdicts"]'),
        ("shortest task length", "if cells[-1]:\n            cell = cells[-1]", "if cells[0]:\n            cell = cells[0]"),
        ("times inverted", 'best["length"] / made["original_length"]', 'made["original_length"] / best["length"]'),
    ],
    ("jobs/doctor/live/measure.py", "tests/jobs/doctor/test_live_measure.py"): [
        (
            "inside is below",
            "if cell.length <= self.original:\n            raise",
            "if cell.length < self.original:\n            raise",
        ),
        ("learns from refusals", "if not refused:", "if True:"),
        ("NaN ends a length", "if cell.loss is None:\n            self.gone.add", "if True:\n            self.gone.add"),
        ("late goes on", "            return str(error)", "            refused = str(error)"),
        ("target twice", "while length < target:", "while length <= target:"),
    ],
    ("jobs/train/checkpoints.py", "tests/jobs/train/test_checkpoints.py"): [
        ("step for updates", 'float(facts["updates"])', 'float(facts["step"])'),
        ("names not padded", "{step:06d}", "{step}"),
        (
            "part left after failure",
            "\n        if parallel.is_first:\n            shutil.rmtree(part, ignore_errors=True)\n",
            "\n",
        ),
    ],
    ("jobs/fit/objective.py", "tests/jobs/fit/test_objective.py"): [
        ("one token late", "weights[original - 1 :] = 1 /", "weights[original:] = 1 /"),
        ("short not a mean", "short_weight / (original - 1)", "short_weight"),
        ("one key", "random.Random(seed + i)", "random.Random(seed)"),
        ("gradient is a sum", "_graph(model, item) / len(items)", "_graph(model, item)"),
    ],
}
