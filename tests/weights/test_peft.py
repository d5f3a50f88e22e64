"""Adapters in PEFT's layout: written and read to the same bits, and refused when anything is off."""

import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import tiny
from glmkit import GLM, cli, load, load_hf, save, save_hf
from glmkit.errors import CheckpointError, HubError
from glmkit.model.adapter import LoRAParam, adapted_places
from glmkit.train.lora import add_lora, merge_lora
from glmkit.weights import load_adapter, save_adapter
from glmkit.weights.peft import declare_adapter

TOKENS = np.arange(24, dtype=np.int32).reshape(2, 12)
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
EXPERTS = "base_model.model.model.layers.1.mlp.experts"


class File(NamedTuple):
    """What the Hub says of one file, as far as it matters here."""

    filename: str
    file_size: int
    will_download: bool = True


def adapted(targets=tiny.ADAPTABLE, model=None, **options):
    return tiny.with_updates(add_lora(model or tiny.model(), 4, 8, targets, rngs=nnx.Rngs(0), **options))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An adapter on all that can be adapted; not to be changed."""
    folder = tmp_path_factory.mktemp("adapters") / "all"
    facts = {"steps": 120, "data (SHA-256)": "ab12"}
    save_adapter(adapted(), folder, base_model="zai-org/GLM-4.5-Air", licence="mit", facts=facts)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "adapter")


def edit(folder, change_tensors=None, **settings):
    """Change the tensors of an adapter on the disk in place, or keys of its configuration."""
    if change_tensors is not None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change_tensors(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))


def assert_same_factors(one, other):
    values = [jax.tree.leaves(nnx.state(model, LoRAParam)) for model in (one, other)]
    assert values[0]
    for a, b in zip(*values, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("targets", [tiny.ADAPTABLE, ["q_proj"], ["experts"], ["gate_proj", "up_proj"], ["router"]])
def test_a_round_trip_gives_the_same_model(targets, tmp_path):
    model = adapted(targets)
    save_adapter(model, tmp_path / "one")
    back = load_adapter(tiny.model(), tmp_path / "one")
    assert jax.tree.structure(back) == jax.tree.structure(model)
    assert_same_factors(back, model)
    save_adapter(back, tmp_path / "two")
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_files_are_as_peft_writes_them(written):
    """Names and shapes as of peft 0.21 on the reference model; tests/parity opens them there."""
    shapes = {name: array.shape for name, array in load_file(written / "adapter_model.safetensors").items()}
    assert len(shapes) == 2 * (3 * 4 + 3 + 2 * (1 + 2 + 3))
    assert shapes[Q] == (4, 32)
    assert shapes[f"{EXPERTS}.base_layer.lora_A.weight"] == (8 * 4, 32)  # of gate and up, as down is adapted too
    assert shapes[f"{EXPERTS}.base_layer.lora_B.weight"] == (2 * 16, 8 * 4)
    assert shapes[f"{EXPERTS}.lora_A.weight"] == (8 * 4, 16)
    assert shapes[f"{EXPERTS}.lora_B.weight"] == (32, 8 * 4)
    config = json.loads((written / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8, "zai-org/GLM-4.5-Air")
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert "mlp.shared_experts.up_proj.weight" in config["target_parameters"]


def test_the_card_says_where_it_comes_from(written):
    card = (written / "README.md").read_text()
    assert card.startswith('---\nbase_model: "zai-org/GLM-4.5-Air"\nlicense: "mit"\nlibrary_name: "peft"\n---\n')
    assert "| steps | 120 |\n| data (SHA-256) | ab12 |\n" in card


def test_layers_and_ranks_may_differ(folder):
    """As in an adapter that PEFT trained on some layers, or with patterns."""

    def narrow(tensors):
        for name in list(tensors):
            if "q_proj" not in name or "layers.2" in name:
                del tensors[name]
        for letter, cut in (("A", np.s_[:2]), ("B", np.s_[:, :2])):
            name = Q.replace("lora_A", f"lora_{letter}")
            tensors[name] = np.ascontiguousarray(tensors[name][cut])

    key = r"layers\.0\.self_attn\.q_proj"
    named = {"target_modules": ["q_proj"], "target_parameters": None, "layers_to_transform": [0, 1]}
    edit(folder, narrow, rank_pattern={key: 2}, alpha_pattern={key: 3}, **named)
    model = load_adapter(tiny.model(), folder)
    assert [(place.parameter.rank, place.parameter.scale) for place in adapted_places(model)] == [(2, 1.5), (4, 2.0)]
    save_adapter(model, folder.with_name("again"))
    again = load_adapter(tiny.model(), folder.with_name("again"))
    assert jax.tree.structure(again) == jax.tree.structure(model)
    assert_same_factors(again, model)
    with pytest.raises(
        CheckpointError, match=r"adapts model.layers.1.self_attn.q_proj and not model.layers.2.*unstack"
    ):
        load_adapter(tiny.model().stacked(), folder)


def test_rank_stabilised_scale_is_read(folder):
    edit(folder, use_rslora=True)
    assert load_adapter(tiny.model(), folder).blocks[0].attention.q.scale == 4  # 8 / sqrt(4)


def test_a_stacked_model_and_one_of_some_layers_take_it(written):
    whole = load_adapter(tiny.model(), written)
    assert_same_factors(load_adapter(tiny.model().stacked(), written).unstacked(), whole)
    some = GLM(tiny.CONFIG, rngs=nnx.Rngs(0), layer_numbers=(0, 1), mtp=None)
    a = load_adapter(some, written).blocks[1].mlp.down.a[...]
    np.testing.assert_array_equal(a, whole.blocks[1].mlp.down.a[...])


def without(ending):
    def change(tensors):
        del tensors[next(name for name in sorted(tensors) if name.endswith(ending))]

    return change


TENSORS = {
    "A missing": (
        without("q_proj.lora_A.weight"),
        r"names model.layers.0.self_attn.q_proj, but .* holds nothing for it",
    ),
    "B missing": (without("q_proj.lora_B.weight"), r"layers.0.self_attn.q_proj.lora_B.weight is missing"),
    "experts missing": (without("experts.base_layer.lora_A.weight"), r"experts.base_layer.lora_A.weight is missing"),
    "another base": (
        lambda t: t.update({Q: np.zeros((4, 64), np.float32)}),
        r"has shape \[4, 64\]; expected \[4, 32\]",
    ),
    "another rank": (
        lambda t: t.update({Q: np.zeros((2, 32), np.float32)}),
        r"has shape \[2, 32\]; expected \[4, 32\]",
    ),
    "another layer": (
        lambda t: t.update({Q.replace("layers.0", "layers.7"): t[Q]}),
        r"holds base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight, which adapts nothing",
    ),
    "one expert's own": (
        lambda t: t.update({f"{EXPERTS}.0.gate_proj.lora_A.weight": t[Q]}),
        r"experts.0.gate_proj.lora_A.weight, which adapts nothing",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit_are_named_before_any_is_read(case, folder):
    change, message = TENSORS[case]
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message):
        declare_adapter(GLM(tiny.CONFIG, rngs=None), folder)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"use_dora": True}, "use_dora=True; glmkit reads plain LoRA only: merge the adapter with PEFT"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; expected 'LORA'"),
        ({"r": "8"}, "r is '8'; expected a positive integer"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan; expected a finite number"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf; expected a finite number"),
        ({"lora_alpha": 10**400}, "lora_alpha is 10+; expected a finite number"),
        ({"rank_pattern": [1]}, r"rank_pattern is \[1\]; expected an object"),
        ({"rank_pattern": {"(": 4}}, "rank_pattern is .*expected an object of expressions"),
        ({"alpha_pattern": 5}, "alpha_pattern is 5; expected an object"),
        ({"alpha_pattern": {"q": float("nan")}}, "alpha_pattern is .*finite numbers"),
        ({"target_modules": 5}, "target_modules is 5; expected an expression or a list of names"),
        ({"target_modules": "("}, r"target_modules is '\('; expected an expression"),
        ({"target_parameters": "mlp.experts.gate_up_proj"}, "target_parameters is .*; expected a list of names"),
        ({"layers_to_transform": "1"}, "layers_to_transform is '1'; expected a layer's number or a list"),
        ({"layers_pattern": "h"}, "layers_pattern is 'h'; expected 'layers'"),
        ({"target_modules": r".*\.zzz"}, r"names \.\*\\\.zzz, which is nothing glmkit can adapt"),
        ({"target_modules": ["q_proj", "lm_head"]}, "names lm_head, which is nothing glmkit can adapt"),
        ({"alpha_pattern": {"mlp.gate_proj.weight": 3}}, "different ranks or scales"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_its_key(setting, message, folder):
    edit(folder, **setting)
    with pytest.raises(CheckpointError, match=message):
        load_adapter(tiny.model(), folder)


QUERIES = {"target_parameters": None, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, [0, 1, 2]),
        ({"target_modules": r".*\.q_proj"}, [0, 1, 2]),
        ({"target_modules": r"model\.layers\.[02]\..*q_proj"}, [0, 2]),
        ({"layers_to_transform": 1}, [1]),
        ({"layers_to_transform": [0, 2], "layers_pattern": "layers"}, [0, 2]),
        ({"exclude_modules": ["layers.1.self_attn.q_proj"]}, [0, 2]),
        ({"exclude_modules": r".*\.[12]\..*"}, [0]),
    ],
)
def test_the_file_has_to_hold_just_what_the_configuration_selects(settings, layers, folder):
    def only(kept):
        def change(tensors):
            for name in list(tensors):
                if ".q_proj." not in name or int(name.split(".")[4]) not in kept:
                    del tensors[name]

        return change

    whole = load_file(folder / "adapter_model.safetensors")
    edit(folder, only(layers), **QUERIES | settings)
    model = load_adapter(tiny.model(), folder)
    assert [place.layer_numbers for place in adapted_places(model)] == [(number,) for number in layers]

    save_file(whole, folder / "adapter_model.safetensors")
    edit(folder, only(layers[1:]))
    with pytest.raises(CheckpointError, match=f"names model.layers.{layers[0]}.self_attn.q_proj, but .* holds nothing"):
        load_adapter(tiny.model(), folder)
    if len(layers) < 3:
        save_file(whole, folder / "adapter_model.safetensors")
        edit(folder, only([0, 1, 2]))
        with pytest.raises(CheckpointError, match=r"which adapter_config.json does not name"):
            load_adapter(tiny.model(), folder)


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.bool_])
def test_a_factor_of_no_weights_dtype_is_refused(dtype, folder):
    edit(folder, lambda tensors: tensors.update({Q: tensors[Q].astype(dtype)}))
    with pytest.raises(CheckpointError, match=r"q_proj.lora_A.weight has dtype .*; expected one of BF16"):
        declare_adapter(tiny.model(), folder)


def test_a_factor_beyond_float32_is_refused(folder):
    edit(folder, lambda tensors: tensors.update({Q: np.full(tensors[Q].shape, 1e300)}))
    with pytest.raises(CheckpointError, match=r"q_proj.lora_A.weight has values up to 1e\+300, beyond float32"):
        load_adapter(tiny.model(), folder)


def test_a_gate_without_its_up_is_refused(folder):
    def change(tensors):
        for name in list(tensors):
            if ".up_proj." in name:
                del tensors[name]

    config = json.loads((folder / "adapter_config.json").read_text())
    edit(folder, change, target_parameters=[name for name in config["target_parameters"] if ".up_proj" not in name])
    with pytest.raises(
        CheckpointError, match=r"adapts model.layers.0.mlp.gate_proj and not model.layers.0.mlp.up_proj"
    ):
        load_adapter(tiny.model(), folder)


def test_folders_that_hold_no_adapter_are_refused(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"adapter_config.json not found; expected the folder of an adapter"):
        load_adapter(tiny.model(), tmp_path / "nowhere")
    for name in (5, None, ""):
        with pytest.raises(CheckpointError, match=f"adapter is {name!r}; expected the folder"):
            load_adapter(tiny.model(), name)
    for name in ("n" * 300, "a\0b"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_adapter(tiny.model(), name)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_adapter(tiny.model(), folder)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="PyTorch pickle"):
        load_adapter(tiny.model(), folder)


def test_values_that_are_not_finite_are_found_where_asked(folder):
    edit(folder, lambda tensors: tensors[Q].fill(np.nan))
    load_adapter(tiny.model(), folder)
    with pytest.raises(CheckpointError, match=r"layers.0.self_attn.q_proj.lora_A.weight holds NaN"):
        load_adapter(tiny.model(), folder, check_finite=True)


def test_what_peft_cannot_hold_is_refused_by_name(tmp_path):
    model = adapted("q_proj", mtp=True)
    with pytest.raises(CheckpointError, match=r"model.layers.3.self_attn.q_proj: .*multi-token-prediction.*merge_lora"):
        save_adapter(model, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="no adapter"):
        save_adapter(tiny.model(), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("write", [save, save_hf])
def test_formats_for_weights_refuse_a_model_with_an_adapter(write, tmp_path):
    with pytest.raises(CheckpointError, match=r"has a LoRA adapter .*merge_lora\(model\) first, or .*save_adapter"):
        write(adapted(["q_proj"]), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_second_adapter_is_refused(written):
    with pytest.raises(CheckpointError, match="has an adapter already"):
        load_adapter(adapted(["q_proj"]), written)


@pytest.fixture
def base(tmp_path):
    """A checkpoint in bfloat16."""
    save_hf(tiny.randomised(GLM(tiny.CONFIG, rngs=nnx.Rngs(0))), tmp_path / "base", dtype=jnp.bfloat16)
    (tmp_path / "base/README.md").write_text("---\nlicense: mit\n---\n# Base\n")
    return tmp_path / "base"


def test_load_puts_it_beside_the_weights(base, written):
    lm = load(base, adapter=written)
    assert_same_factors(lm.model, load_adapter(load_hf(base), written))
    edited = shutil.copytree(written, base.with_name("edited"))
    edit(edited, target_modules=["lm_head"])
    with pytest.raises(CheckpointError, match="names lm_head"):
        load(base, adapter=edited)


def test_an_adapter_may_be_named_by_its_hub_id(base, written, monkeypatch, tmp_path):
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options["cache_dir"], options["revision"]))
        return [File("adapter_model.safetensors", 1000)] if options.get("dry_run") else str(written)

    monkeypatch.setattr("glmkit.weights.hub.snapshot_download", snapshot_download)
    lm = load(base, adapter="someone/an-adapter", cache_dir=tmp_path / "cache")
    assert_same_factors(lm.model, load_adapter(load_hf(base), written))
    assert set(asked) == {("someone/an-adapter", tmp_path / "cache", None)}
    for nothing in ("", 3):
        with pytest.raises(CheckpointError, match="names no adapter; expected the path of a folder, or a Hub id"):
            load(base, adapter=nothing)
    with pytest.raises(HubError, match="there is no folder missing, nor is it a Hub id"):
        load(base, adapter="missing")


def test_merge_writes_a_checkpoint_that_makes_the_round_trip(base, written, tmp_path, capsys):
    assert cli.main(["merge", str(base), str(written), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    expected = merge_lora(load_adapter(load_hf(base, dtype=jnp.bfloat16), written))
    merged = load_hf(tmp_path / "out", dtype=jnp.bfloat16)
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    save_hf(merged, tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "out/model.safetensors").read_bytes()
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith('---\nbase_model: "base"\nlicense: "mit"\n')


def test_merge_says_what_is_wrong_in_one_line(base, tmp_path, capsys):
    assert cli.main(["merge", str(base), str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("glmkit: error:")
    assert not (tmp_path / "out").exists()


def test_merge_in_another_dtype_rounds_once(base, written, tmp_path):
    assert cli.main(["merge", str(base), str(written), str(tmp_path / "out"), "--dtype", "float32"]) == 0
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    expected = merge_lora(load_adapter(load_hf(base, dtype=jnp.float32), written))
    merged = load_hf(tmp_path / "out", dtype=jnp.float32)
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "float32"
