"""Faults of one line in the engines: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("engines/transformers/spell.py", "tests/models/test_latent.py"): [
        ("latent softmax not written", 'temperature["mscale_all_dim"] = softmax', "pass"),
        ("a ramp in turns drops the latent softmax", 'or options.get("softmax_mscale") or fast', "or fast"),
    ],
    ("engines/transformers/read.py", "tests/engines/test_transformers_read.py"): [
        ("max for the stated original", "if stated := inside or outside:", "if stated := None:"),
        ("max for the known original", "    if fact := known.published_length(fields.config, theta):", "    if fact := None:"),
    ],
    ("engines/transformers/widths.py", "tests/engines/test_transformers_read.py"): [
        ("head_dim for rotary_dim", "    rotated = int(head * share)\n", "    rotated = head\n"),
        (
            "MLA's rotary part ignored",
            'if mla := fields.whole("qk_rope_head_dim"):',
            'if mla := fields.whole("no such key"):',
        ),
    ],
    ("engines/transformers/rope_dicts.py", "tests/engines/test_transformers_read.py"): [
        ("disagreeing spellings pass", "if ours.get(key) != theirs.get(key):", "if False:"),
    ],
    ("engines/transformers/scaling.py", "tests/engines/test_transformers_read.py"): [
        ("attention_factor ignored", 'options["attention_factor"] = stated\n', 'options["beta_slow"] = 1.0\n'),
        ("mscale alone believed", "stated or not above or not below", "stated or not above"),
        ("truncate not read", 'part.yes("truncate", default="truncate" not in part.config)', "True"),
        ("llama3 bands read swapped", '"beta_slow": part.number("low_freq', '"beta_slow": part.number("high_freq'),
        (
            "longrope lists read swapped",
            '{"long_factor": long, "short_factor": short',
            '{"long_factor": short, "short_factor": long',
        ),
        ("alpha read as dynamic", 'part.number("alpha")', 'part.number("no such key")'),
        ("dynamic capped at its factor", "min(LARGEST_LENGTH / rope.original_length, 1e9)", "factor"),
    ],
    ("engines/transformers/read.py", "tests/engines/test_class_defaults.py"): [
        ("random: an original length beside dicts of layer types", "outside = None  # which", "pass  # which"),
        ("random: dicts of layer types without a base", "if row and row.states_theta and by_layer:", "if False:"),
    ],
    ("engines/transformers/widths.py", "tests/engines/test_class_defaults.py"): [
        ("random: a width that no class reads passes", "        if width != rotated:\n", "        if False:\n"),
        (
            "random: a share beside a latent head passes",
            "if share is not None and _channels(head, share) != rotated",
            "if share is None",
        ),
    ],
    ("engines/transformers/rope_dicts.py", "tests/engines/test_class_defaults.py"): [
        ("random: a base is not lost with its dict", "_beside(fields, layer_type, key) or other[key]", "other[key]"),
    ],
    ("engines/transformers/scaling.py", "tests/engines/test_class_defaults.py"): [
        ("random: truncate of one layer type", 'if nested and not dict(options).get("truncate", True):', "if False:"),
    ],
    ("engines/transformers/class_defaults.py", "tests/engines/test_class_defaults.py"): [
        ("random: latent keys of a model without", "*(key for key in LATENT if key not in row.widths)", ""),
    ],
    ("engines/transformers/checkpoint.py", "tests/engines/test_transformers_read.py"): [
        ("text_config ignored", 'TEXT_PARTS = ("text_config", ', 'TEXT_PARTS = ("no such key", '),
    ],
    ("engines/transformers/known.py", "tests/engines/test_transformers_read.py"): [
        ("local base ignored", '"gemma3_text": "rope_local_base_freq"', '"gemma3_text": "no such key"'),
    ],
    ("engines/transformers/write.py", "tests/engines/test_transformers_write.py"): [
        ("longrope without its length at the top", "if two_lists or", "if False or"),
        ("base lost on write", '        target["rope_theta"] = flat["rope_theta"]\n', ""),
        ("mrope sections lost on write", '    "mrope_section",\n', ""),
        ("partial rotation lost on write", '    "partial_rotary_factor",\n', ""),
        ("max not raised on write", "max(spec.max_length, plan.target_length)", "spec.max_length"),
        ("the caller's config changed", "copy.deepcopy(dict(opened(config)))", "dict(opened(config))"),
        ("not read back", "    prove(plan, new)\n", ""),
    ],
    ("engines/transformers/spell.py", "tests/engines/test_transformers_write.py"): [
        ("dynamic written with its factor", '"dynamic", "factor": 1.0', '"dynamic", "factor": 2.0'),
        ("nested truncate written", "if nested and not truncate:", "if False:"),
        ("carrier inverted", "[theta / new for theta, new", "[new / theta for theta, new"),
        ("m not written", 'temperature: dict[str, Any] = {"attention_factor": m}', "temperature: dict[str, Any] = {}"),
    ],
    ("engines/vllm.py", "tests/engines/test_engines.py"): [
        ("vLLM's ntk without its shift", "2 * (i + 1) / d", "2 * i / d"),
        ("static alpha of dynamic", "f * f - f + 1", "f * f - f"),
    ],
    ("engines/sglang.py", "tests/engines/test_engines.py"): [
        ("attn_factor of SGLang forgotten", '* float(keys.said.get("attn_factor", 1.0))', ""),
    ],
    ("engines/mlx_lm_models.py", "tests/engines/test_mlx_models.py"): [
        ("Mixtral's scaling believed in MLX-LM", "minimax_m2 mixtral ", "minimax_m2 "),
    ],
    ("engines/mlx_lm_models.py", "tests/engines/test_ledger.py"): [
        ("MLX-LM's default length", '"yarn": 4096', '"yarn": 8192'),
        ("yarn's factor believed in MLX-LM 0.26", 'if keys.rope_type != "yarn" or keys.kind in but_by:', "if True:"),
    ],
    ("engines/transformers_earlier.py", "tests/engines/test_ledger.py"): [
        ("longrope's length believed inside the dict", "long_factor=keys.said[lists]", "long_factor=keys.said['long_factor']"),
    ],
    ("engines/quirks.py", "tests/engines/test_mlx_models.py"): [
        ("GLM's share believed in MLX-LM", "if keys.kind not in kinds or head <= trained:", "if True:"),
    ],
    ("engines/longrope.py", "tests/engines/test_ledger.py"): [
        ("longrope's factor believed", 'stated.append("factor")', "pass"),
    ],
    ("engines/vllm_earlier.py", "tests/engines/test_ledger.py"): [
        ("vLLM's window of longrope believed", "if keys.beside.asked or served(keys) >= keys.longest:", "if True:"),
    ],
    ("engines/llama_cpp.py", "tests/engines/test_engines.py"): [
        ("GGUF's attn_factor the wrong way", "attention_factor / mscale(s)", "attention_factor * mscale(s)"),
        ("rope factors inverted", "[theta / new for theta, new", "[new / theta for theta, new"),
    ],
    ("engines/config_files.py", "tests/engines/test_engines.py"): [
        ("mscale that is not solved for", "slope = (m * mscale(s) - 1)", "slope = (m * mscale(s) - 2)"),
    ],
    ("engines/gpt_oss.py", "tests/engines/test_engines.py"): [
        ("gpt-oss rounded", '"truncate": False,', '"truncate": True,'),
    ],
    ("engines/deepseek.py", "tests/engines/test_engines.py"): [
        ("DeepSeek's switch one token early", "longest > keys.rope", "longest >= keys.rope"),
    ],
    ("engines/engine.py", "tests/engines/test_versions.py"): [
        ("a version range without its bound", '">=": operator.ge', '">=": operator.gt'),
    ],
    ("engines/gguf_file.py", "tests/engines/test_gguf_header.py"): [
        ("tensors not aligned", "-(-cursor.at // aligned)", "(cursor.at // aligned)"),
    ],
}
