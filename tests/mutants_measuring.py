"""Faults of one line in what measures, trains and judges: each with the tests of its own module that must see it.

(what, file under src/ropewalk, line that is, line that it becomes). Which tests are asked is said once per file, in TESTS.
"""

EVALUATE, REPORT, TRAIN, FIT = "jobs/evaluate", "jobs/report", "jobs/train", "jobs/fit"
JUDGE = "jobs/doctor/live/judge.py"
STATISTICS, RECORDS, NIAH = "measure/statistics.py", "measure/records.py", "measure/tasks/ruler_niah.py"
VERDICT, WINDOW, PRINT = "measure/verdict.py", "measure/in_windows.py", "checkpoints/fingerprint.py"
LOOP, FOUND = "jobs/train/loop.py", "jobs/report/loss.py"

TESTS = {
    STATISTICS: "tests/measure/test_statistics.py",
    RECORDS: "tests/measure/test_records.py",
    "measure/tables.py": "tests/measure/test_readings.py",
    "measure/nll.py": "tests/measure/test_evaluate.py",
    "measure/scoring.py": "tests/measure/test_scoring.py",
    "measure/retrieval.py": "tests/measure/test_retrieval.py",
    "jobs/evaluate/job.py": "tests/jobs/evaluate/test_early.py",
    NIAH: "tests/measure/tasks/test_ruler_needles.py",
    VERDICT: "tests/measure/test_verdict.py",
    WINDOW: "tests/measure/test_window.py",
    PRINT: "tests/checkpoints/test_fingerprint.py",
    "jobs/report/loss.py": "tests/jobs/report/test_verdicts.py",
    FOUND: "tests/jobs/report/test_verdicts.py",
    "jobs/report/provenance.py": "tests/jobs/report/test_sections.py",
    LOOP: "tests/jobs/train/test_loop.py",
    "jobs/fit/job.py": "tests/jobs/fit/test_job.py",
    "jobs/fit/compare.py": "tests/jobs/fit/test_kept.py",
    "models/attach.py": "tests/models/test_attach.py",
    "models/live.py": "tests/models/test_attach.py",
    JUDGE: "tests/jobs/doctor/test_live_judge.py",
}

MEASURING = [
    # evaluate
    ("p may be 0", STATISTICS, "(1 + hits.sum()) / (1 + len(hits))", "hits.sum() / len(hits)"),
    ("a bootstrap of two documents", STATISTICS, "ENOUGH = 5", "ENOUGH = 2"),
    ("Student's t for five", STATISTICS, "if n < ENOUGH:", "if n <= ENOUGH:"),
    (
        "the error of draws of unequal documents",
        STATISTICS,
        "squares - 2 * shift * mixed + shift * shift * lengths",
        "squares + 0 * mixed - shift * shift * lengths",
    ),
    ("n for n - 1", STATISTICS, "n / (n - 1) * squares", "squares"),
    (
        "ends swapped",
        STATISTICS,
        "_rank(self.draws, 0.975), _rank(self.draws, 0.025)",
        "_rank(self.draws, 0.025), _rank(self.draws, 0.975)",
    ),
    ("a 90 % interval", STATISTICS, "_rank(numpy.sort(abs(self.draws)), 0.95)", "_rank(numpy.sort(abs(self.draws)), 0.90)"),
    ("above is below", STATISTICS, "self.draws >= (self.value - null)", "self.draws <= (self.value - null)"),
    ("t of n degrees", STATISTICS, "standard_t(n - 1, samples)", "standard_t(n, samples)"),
    ("Wilson at 90 %", STATISTICS, "z: float = 1.959964", "z: float = 1.644854"),
    (
        "two plans share a record",
        RECORDS,
        "json.dumps(asdict(self), sort_keys=True)",
        "json.dumps({**asdict(self), 'plan': ''}, sort_keys=True)",
    ),
    ("losses in half precision", RECORDS, "record.nll.astype(numpy.float32)", "record.nll.astype(numpy.float16)"),
    ("ids in 32 bits", RECORDS, "numpy.asarray(ids, dtype=numpy.int64)", "numpy.asarray(ids, dtype=numpy.int32)"),
    ("models are mixed", RECORDS, "if self._model != model:", "if False:"),
    ("any schema", RECORDS, 'if metadata.get("schema") != SCHEMA:', "if False:"),
    ("a document that lacks a cell", "measure/tables.py", "if len(complete) == len(cells):", "if complete:"),
    ("nats for bits", "measure/tables.py", "BITS = 1 / math.log(2)", "BITS = 1.0"),
    (
        "documents without every bucket",
        "measure/tables.py",
        "if len(read) == len(pieces):\n            for row",
        "if read:\n            for row",
    ),
    (
        "log-softmax in bfloat16",
        "measure/nll.py",
        "cross_entropy(logits.float().flatten(0, 1)",
        "cross_entropy(logits.flatten(0, 1)",
    ),
    (
        "a token predicts itself",
        "measure/nll.py",
        "_positions(ids, first, positions) - 1",
        "_positions(ids, first, positions)",
    ),
    (
        "own best is the mean",
        "measure/scoring.py",
        "table[:, base].max(1, keepdims=True)",
        "table[:, base].mean(1, keepdims=True)",
    ),
    ("a 75 % interval called 95 %", "measure/scoring.py", "[2.5, 97.5], method", "[12.5, 87.5], method"),
    ("0 is a share of 0", "measure/scoring.py", "(table >= bar) & able(table)", "table >= bar"),
    (
        "the shortest for the longest",
        "measure/scoring.py",
        "numpy.array(lengths), 0).max(1)",
        "numpy.array(lengths), 0).min(1)",
    ),
    (
        "the first digit is enough",
        "measure/retrieval.py",
        "float(verdict.exact), TEACHER",
        "float(verdict.greedy[0]), TEACHER",
    ),
    (
        "the order of names",
        "jobs/evaluate/job.py",
        "rows = [sums.documents.index(name) for name in order]",
        "rows = list(range(len(order)))",
    ),
    (
        "the same value twice",
        NIAH,
        "values = _distinct(shape.value_kind, hidden, rng)",
        "values = [draw(shape.value_kind, rng) for _ in range(hidden)]",
    ),
    (
        "all needles in the middle",
        NIAH,
        "in_prose(sentences, [size * depth // 100 for depth in depths], needles)",
        "in_prose(sentences, [size // 2 for depth in depths], needles)",
    ),
    ("a line too far down", NIAH, "lines.insert(size * depth // 100, one)", "lines.insert(size * depth // 100 + 1, one)"),
    ("another key's values", NIAH, "values[i * shape.values + j] for i in asked", "values[j] for i in asked"),
    ("not significant is enough", VERDICT, "gap.high < margin", "gap.low < margin"),
    ("two documents certify", VERDICT, "enough = n >= ENOUGH or", "enough = n >= 2 or"),
    ("lost keys do not count", VERDICT, "(self.found is None or self.found.state == HOLDS)", "True"),
    (
        "a later length certifies",
        VERDICT,
        "            failed = step\n            break\n",
        "            failed = step\n            continue\n",
    ),
    (
        "the window is a token further on",
        WINDOW,
        "pieces = torch.cat([ids[:, s : s + window] for s in group])",
        "pieces = torch.cat([ids[:, s + 1 : s + 1 + window] for s in group])",
    ),
    ("windows without BOS", WINDOW, "        if bos:\n            pieces", "        if False:\n            pieces"),
    ("an answer beyond the window", WINDOW, "room = window - max(", "room = window - 0 * max("),
    (
        "the first bytes alone",
        PRINT,
        'hashlib.file_digest(stream, "sha256").hexdigest()',
        "hashlib.sha256(stream.read(2**20)).hexdigest()",
    ),
    ("ctime is not looked at", PRINT, '"ctime_ns": stat.st_ctime_ns,', ""),
    ("only weights count", PRINT, '"*config.json", ', ""),
    ("young files are remembered", PRINT, "now - changed > SETTLED", "True"),
    # report
    ("losses up to 0.1 nats are none", "jobs/report/loss.py", "NOISE = 1e-5", "NOISE = 1e-1"),
    (
        "a window reads on",
        "jobs/report/loss.py",
        "min(found.longest or 0, seen or found.longest or 0)",
        "found.longest or 0",
    ),
    (
        "the judge is the method",
        "jobs/report/loss.py",
        "judge = REFERENCE if REFERENCE in sums else method",
        "judge = method",
    ),
    ("two of two is enough", FOUND, "share.low >= SHOWN * inside", "True"),
    ("half is as good", FOUND, "share.value >= bar and share.low", "share.low"),
    ("the best task decides", FOUND, "worst = max(each", "worst = min(each"),
    ("the data is forgotten", "jobs/report/provenance.py", 'for part in ("--data", source)]', "for part in ()]"),
    # train
    (
        "gradients never clipped",
        LOOP,
        "clip_grads_with_norm_(weights, most, norm.float())",
        "clip_grads_with_norm_(weights, 1e9, norm.float())",
    ),
    ("norms decay too", LOOP, "(p.ndim > 1) is wide", "(p.ndim > 0) is wide"),
    ("another beta2", LOOP, "BETAS = (0.9, 0.95)", "BETAS = (0.9, 0.999)"),
    ("the schedule is not applied", LOOP, 'group["lr"] = rate', 'group["lr"] = self.stage.rate'),
    (
        "weight decay is not applied",
        LOOP,
        '{"params": matrices, "weight_decay": stage.weight_decay}',
        '{"params": matrices, "weight_decay": 0.0}',
    ),
    ("the norm in float32", LOOP, "dtype=torch.float64) for p in weights", "dtype=torch.float32) for p in weights"),
    ("gradients pile up", LOOP, "        self.optimizer.zero_grad()\n", ""),
    # fit
    (
        "chosen on the report documents",
        "jobs/fit/job.py",
        "for documents in (sets.fit, sets.choose))",
        "for documents in (sets.fit, sets.report))",
    ),
    (
        "searched on the choosing documents",
        "jobs/fit/job.py",
        "for documents in (sets.fit, sets.choose))",
        "for documents in (sets.choose, sets.choose))",
    ),
    ("one document again and again", "jobs/fit/job.py", "(BATCH * number + i) % len(self.items)", "i % len(self.items)"),
    (
        "bits of other documents",
        "jobs/fit/compare.py",
        "[document.ids for document in read]",
        "[document.ids for document in documents]",
    ),
    # models
    ("tables 4,096 times further off", "models/live.py", "ROUNDINGS = 3 * 2.0**-24", "ROUNDINGS = 3 * 2.0**-12"),
    ("one step of a schedule is enough", "models/attach.py", "for step in {0, last // 2, last}:", "for step in {0}:"),
    # doctor
    ("FAIL without Bonferroni", JUDGE, "found.p_above(margin) <= LEVEL / looks", "found.p_above(margin) <= LEVEL"),
    ("PASS at level 0.2", JUDGE, "found.p_below(margin) <= LEVEL,", "found.p_below(margin) <= 4 * LEVEL,"),
    ("two-sided for keys", JUDGE, "found.p / 2 <= LEVEL / looks", "found.p <= LEVEL / looks"),
    ("more keys are a loss", JUDGE, "found.difference.value < 0 and ", ""),
    ("findings do not count", JUDGE, "if findings or FAIL in losses", "if FAIL in losses"),
]
