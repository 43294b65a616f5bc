"""Faults of one line in what measures: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("measure/ladder.py", "tests/measure/tasks/test_ladders.py"): [
        ("rungs of a ladder share nothing", "cells(stem, length", "cells(name, length"),
        ("the reply is not begun", "*turn, *begin]", "*turn]"),
        ("a chat without its beginning", "if chat else (material.start, ())", "if chat and False else (material.start, ())"),
        ("rungs of any number", "if not least <= rung <= most:", "if False:"),
    ],
    ("measure/tasks/ladder_quote.py", "tests/measure/tasks/test_ladders.py"): [
        ("a beginning that stands elsewhere too", "not in around:", "not in '':"),
    ],
    ("measure/tasks/ladder_walk.py", "tests/measure/tasks/test_ladders.py"): [
        ("the wrong walk is asked for", 'asked[0] + "".join(roads[1]) + asked[1]', 'asked[1] + "".join(roads[1]) + asked[0]'),
    ],
    ("measure/tasks/ladder_keys.py", "tests/measure/tasks/test_ladders.py"): [
        ("one key too few", "while len(found) <= rung:", "while len(found) < max(rung, 1):"),
    ],
    ("measure/statistics.py", "tests/measure/test_statistics.py", "tests/measure/test_power.py"): [
        ("p may be 0", "(1 + hits.sum()) / (1 + len(hits))", "hits.sum() / len(hits)"),
        ("a bootstrap of two documents", "ENOUGH = 5", "ENOUGH = 2"),
        ("Student's t for five", "if n < ENOUGH:", "if n <= ENOUGH:"),
        (
            "the error of draws of unequal documents",
            "squares - 2 * shift * mixed + shift * shift * lengths",
            "squares + 0 * mixed - shift * shift * lengths",
        ),
        ("n for n - 1", "n / (n - 1) * squares", "squares"),
        (
            "ends swapped",
            "_rank(self.draws, 0.975), _rank(self.draws, 0.025)",
            "_rank(self.draws, 0.025), _rank(self.draws, 0.975)",
        ),
        ("a 90 % interval", "_rank(numpy.sort(abs(self.draws)), 0.95)", "_rank(numpy.sort(abs(self.draws)), 0.90)"),
        ("above is below", "self.draws >= (self.value - null)", "self.draws <= (self.value - null)"),
        ("t of n degrees", "standard_t(n - 1, samples)", "standard_t(n, samples)"),
        ("Wilson at 90 %", "z: float = 1.959964", "z: float = 1.644854"),
        ("three at least", "low, high = 2, 4", "low, high = 3, 4"),
        ("power ignored", "student(power, documents - 1)", "student(POWER, documents - 1)"),
    ],
    ("measure/records.py", "tests/measure/test_records.py"): [
        (
            "two plans share a record",
            "json.dumps(asdict(self), sort_keys=True)",
            "json.dumps({**asdict(self), 'plan': ''}, sort_keys=True)",
        ),
        ("losses in half precision", "record.nll.astype(numpy.float32)", "record.nll.astype(numpy.float16)"),
        ("ids in 32 bits", "numpy.asarray(ids, dtype=numpy.int64)", "numpy.asarray(ids, dtype=numpy.int32)"),
        ("models are mixed", "if self._model != model:", "if False:"),
        ("any schema", 'if metadata.get("schema") != SCHEMA:', "if False:"),
    ],
    ("measure/tables.py", "tests/measure/test_readings.py"): [
        ("a document that lacks a cell", "if len(complete) == len(cells):", "if complete:"),
        ("nats for bits", "BITS = 1 / math.log(2)", "BITS = 1.0"),
        (
            "documents without every bucket",
            "if len(read) == len(pieces):\n            for row",
            "if read:\n            for row",
        ),
    ],
    ("measure/nll.py", "tests/measure/test_evaluate.py"): [
        (
            "the first ending that fits",
            "return min(fitting, key=lambda after:",
            "return next(iter(fitting), None) or min(fitting, key=lambda after:",
        ),
        ("log-softmax in bfloat16", "numbers = logits.float()", "numbers = logits"),
        ("a token predicts itself", "_positions(ids, first, positions) - 1", "_positions(ids, first, positions)"),
        (
            "head is not compared",
            "return head if _same(head(model.base_model(ids, use_cache=False).last_hidden_state), wanted) else None",
            "return head",
        ),
        ("float32 tolerance", "tolerance = 1e-5 if", "tolerance = 2e-2 if"),
    ],
    ("measure/tax.py", "tests/measure/test_tax.py"): [
        ("longrope's long list on short texts", "attach(model, plan_at(plan, ids.shape[1]))", "attach(model, plan)"),
    ],
    ("measure/documents.py", "tests/measure/test_documents.py"): [
        ("a text cut too early", "if len(ids) >= tokens + MARGIN:", "if len(ids) >= tokens - MARGIN:"),
    ],
    ("measure/scoring.py", "tests/measure/test_scoring.py"): [
        ("own best is the mean", "table[:, base].max(1, keepdims=True)", "table[:, base].mean(1, keepdims=True)"),
        ("a 75 % interval called 95 %", "[2.5, 97.5], method", "[12.5, 87.5], method"),
        ("0 is a share of 0", "(table >= bar) & able(table)", "table >= bar"),
        ("the shortest for the longest", "numpy.array(lengths), 0).max(1)", "numpy.array(lengths), 0).min(1)"),
        ("control characters stay", "[\\x00-\\x1f]", "[\\x00-\\x09]"),
    ],
    ("measure/retrieval.py", "tests/measure/test_retrieval.py"): [
        ("what had no room hides nothing", "set(names) <= asked and all(", "all("),
        ("the first digit is enough", "float(verdict.exact), TEACHER", "float(verdict.greedy[0]), TEACHER"),
    ],
    ("measure/tasks/ruler_niah.py", "tests/measure/tasks/test_ruler_needles.py"): [
        (
            "the same value twice",
            "values = _distinct(shape.value_kind, hidden, rng)",
            "values = [draw(shape.value_kind, rng) for _ in range(hidden)]",
        ),
        (
            "all needles in the middle",
            "in_prose(sentences, [size * depth // 100 for depth in depths], needles)",
            "in_prose(sentences, [size // 2 for depth in depths], needles)",
        ),
        ("a line too far down", "lines.insert(size * depth // 100, one)", "lines.insert(size * depth // 100 + 1, one)"),
        ("another key's values", "values[i * shape.values + j] for i in asked", "values[j] for i in asked"),
        ("needles in order", "in rng.sample(pairs, hidden)]", "in pairs]"),
    ],
    ("measure/verdict.py", "tests/measure/test_verdict.py"): [
        ("not significant is enough", "gap.high < margin", "gap.low < margin"),
        ("two documents certify", "enough = n >= ENOUGH or", "enough = n >= 2 or"),
        ("lost keys do not count", "(self.found is None or self.found.state == HOLDS)", "True"),
        (
            "a later length certifies",
            "            failed = step\n            break\n",
            "            failed = step\n            continue\n",
        ),
        ("needed at hand", "max(needed, ENOUGH, n + 1)", "max(needed, ENOUGH)"),
        ("shortest inside", "inside[-1] if inside and inside[-1].loss", "inside[0] if inside and inside[0].loss"),
    ],
    ("measure/in_windows.py", "tests/measure/test_window.py"): [
        (
            "the window is a token further on",
            "pieces = torch.cat([ids[:, s : s + window] for s in group])",
            "pieces = torch.cat([ids[:, s + 1 : s + 1 + window] for s in group])",
        ),
        ("windows without BOS", "        if bos:\n            pieces", "        if False:\n            pieces"),
        ("an answer beyond the window", "room = window - max(", "room = window - 0 * max("),
    ],
    ("measure/anytime.py", "tests/measure/test_anytime.py"): [
        ("p of the last look", "float(evidence.max()), 0.0", "float(evidence[-1]), 0.0"),
        ("level may be 1", "if not 0 < level < 1:", "if not 0 < level <= 1:"),
    ],
    ("measure/passes.py", "tests/measure/test_passes.py"): [
        ("touching ranges apart", "low <= joined[-1][1]", "low < joined[-1][1]"),
        (
            "first token dropped",
            "d.ids[1:] if bos is not None and d.ids[:1] == (bos,) else",
            "d.ids[1:] if bos is not None else",
        ),
    ],
    ("measure/tasks/needle.py", "tests/measure/tasks/test_laid_out.py"): [
        ("leading zeros", "randrange(100_000, 1_000_000)", "randrange(1, 1_000_000)"),
        ("same place", "cell.rng.choice(PLACES)", "PLACES[0]"),
    ],
    ("measure/tasks/passkey.py", "tests/measure/tasks/test_laid_out.py"): [
        ("last place", "budget if depth == 1", "budget - 1 if depth == 1"),
        ("first newline", "min(cuts, key=lambda i: abs(i - wanted))", "min(cuts)"),
        ("same code", "int(cell.start * len(material.code_ids))", "0"),
    ],
}
