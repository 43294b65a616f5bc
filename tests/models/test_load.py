"""A tokenizer that is not the model's is refused by name."""

import json
import shutil

import pytest
import transformers
from tokenizers import Tokenizer, models

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.errors import BadConfig
from ropewalk.models.load import check_tokenizer, load_model, load_tokenizer


def model(vocabulary=10, bos=1, eos=2, generation_eos=None):
    config = transformers.LlamaConfig(vocab_size=vocabulary, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                      num_attention_heads=1, bos_token_id=bos, eos_token_id=eos)  # fmt: skip
    found = transformers.LlamaForCausalLM(config)
    if generation_eos is not None:
        found.generation_config.eos_token_id = generation_eos
    return found


def tokenizer(vocabulary=10, bos="t1", eos="t2"):
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(vocabulary)}, unk_token="t0"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token=bos, eos_token=eos)


def test_weights_that_are_cut_off(tmp_path):
    shutil.copytree(checkpoint("ropewalk-tiny"), tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BadConfig, match=r"cut cannot be loaded: .*not fully covered"):
        load_model(tmp_path / "cut")


def test_the_models_own_passes():
    check_tokenizer(load_tokenizer("ropewalk-tiny"), load_model("ropewalk-tiny"), "ropewalk-tiny")


def test_an_embedding_with_spare_rows_passes():
    """Embeddings are padded to round numbers: Qwen2.5 has 151,936 rows for 151,665 tokens."""
    check_tokenizer(tokenizer(10), model(16), "x")


def test_more_tokens_than_embeddings():
    with pytest.raises(BadConfig, match=r"other/one does not belong to this model: 2 of its tokens.*10; 't11' is 11"):
        check_tokenizer(tokenizer(12), model(10), "other/one")


def test_another_bos():
    with pytest.raises(BadConfig, match=r"its bos_token_id is 3, the model's 1\."):
        check_tokenizer(tokenizer(bos="t3"), model(), "x")


def test_another_eos():
    with pytest.raises(BadConfig, match=r"its eos_token_id is 4, the model's 2 or 5\."):
        check_tokenizer(tokenizer(eos="t4"), model(generation_eos=[2, 5]), "x")


def test_agreeing_with_the_generation_config_is_enough():
    check_tokenizer(tokenizer(eos="t5"), model(generation_eos=[2, 5]), "x")


def test_saying_nothing_is_no_contradiction():
    check_tokenizer(tokenizer(bos=None), model(), "x")
    check_tokenizer(tokenizer(), model(bos=None, eos=None), "x")


# --- what people bring


def with_config(folder, **keys):
    shutil.copytree(checkpoint("ropewalk-tiny"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("gptq", "optimum|gptqmodel"),
        ("awq", "gptqmodel|autoawq"),
        ("bitsandbytes", "bitsandbytes"),
        ("compressed-tensors", "compressed-tensors"),
        ("hqq", "HQQ"),
        ("no-such-way", "quantised by 'no-such-way', which transformers"),
        (None, "a method that it does not name"),
    ],
)
def test_quantised_weights_name_what_reads_them(tmp_path, method, words):
    """AutoGPTQ/AutoGPTQ#244, vllm-project/vllm#4334: an ImportError ended in a traceback."""
    more = {"load_in_4bit": True} if method == "bitsandbytes" else {}
    said = {"quant_method": method, "bits": 4, "group_size": 128, **more} if method else {"bits": 4}
    if method == "compressed-tensors":
        said = {"quant_method": method, "format": "pack-quantized", "config_groups": {}}
    with pytest.raises(BadConfig, match=rf"cannot be loaded: (.|\n)*({words})"):
        load_model(with_config(tmp_path / "q", quantization_config=said))


def test_weights_that_are_not_there_are_never_made_up(tmp_path):
    """transformers draws what is missing at random, and says so in a log that nobody reads."""
    more = with_config(tmp_path / "deeper", num_hidden_layers=9)
    with pytest.raises(BadConfig, match=r"deeper lacks \d+ of the model's weights, such as model\.layers\.\d\."):
        load_model(more)
    wider = with_config(tmp_path / "wider", intermediate_size=64)
    with pytest.raises(BadConfig, match=r"cannot be loaded|other shapes"):
        load_model(wider)


@pytest.mark.parametrize("kind", ["qwen", "internlm2"])
def test_a_type_that_transformers_does_not_have(tmp_path, kind):
    own = with_config(tmp_path / kind, model_type=kind, auto_map={"AutoModelForCausalLM": "modeling.X"})
    (own / "modeling.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(BadConfig, match=rf"has no model type '{kind}'. Its own code is not run"):
        load_model(own)


def test_a_type_that_writes_no_text(tmp_path):
    with pytest.raises(BadConfig, match="no class that writes text with a vit model"):
        load_model(with_config(tmp_path / "vit", model_type="vit"))
