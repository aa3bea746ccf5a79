from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback.attach.naming import listed, named_parameters, owners, plain_names
from tb_adam_plugin.callback.attach.watched_parameters import find_parameters


def names_of(model: nn.Module) -> list[str]:
    return [name for name, _ in named_parameters(model)]


def small_model() -> nn.Module:
    model = nn.Sequential()
    model.add_module("encoder", nn.Linear(2, 3))
    model.add_module("head", nn.Linear(3, 1, bias=False))
    return model


def test_names_are_those_of_the_model() -> None:
    assert names_of(small_model()) == ["encoder.weight", "encoder.bias", "head.weight"]


def test_wrappers_leave_no_trace_in_names() -> None:
    plain = names_of(small_model())
    compiled = torch.compile(small_model())
    assert isinstance(compiled, nn.Module)
    assert names_of(compiled) == plain
    assert names_of(nn.DataParallel(small_model())) == plain
    assert names_of(nn.DataParallel(compiled)) == plain
    assert plain_names(["_fsdp_wrapped_module.a._fsdp_wrapped_module.weight"]) == ["a.weight"]
    assert plain_names(["_orig_mod.module.a.weight", "_orig_mod.module.b"]) == ["a.weight", "b"]


def test_parameters_belong_to_the_first_module_that_has_them() -> None:
    model = nn.Module()
    model.add_module("tables", nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3)))
    model.add_module("output", nn.Linear(3, 4))
    model.output.weight = model.tables[0].weight  # type: ignore[union-attr, index, assignment]
    of = owners(model)
    found = [of[id(parameter)] for parameter in model.parameters()]
    assert found == ["Embedding", "LayerNorm", "LayerNorm", "Linear"]
    assert owners(nn.DataParallel(model)) == of


def test_a_submodule_that_is_called_module_keeps_its_name() -> None:
    model = nn.Module()
    model.add_module("module", nn.Linear(2, 2, bias=False))
    model.add_module("head", nn.Linear(2, 2, bias=False))
    assert names_of(model) == ["module.weight", "head.weight"]


def test_names_stay_different_where_stripping_would_make_them_equal() -> None:
    assert plain_names(["_orig_mod.a", "a", "b"]) == ["_orig_mod.a", "a", "b"]
    nested = ["module.a", "module._orig_mod.a", "module.module.a"]
    assert plain_names(nested) == nested


def test_a_parameter_without_a_name_gets_one_that_no_other_has() -> None:
    named, unnamed = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    model = [("group0.parameter1", named)]
    found = find_parameters(model, [{"params": [named, unnamed]}])
    names = [w.name for w in found.watched]
    assert names == ["group0.parameter1", "group0.parameter1 (unnamed)"]
    assert any(names[1] in notice for notice in found.notices)
    again = [("group0.parameter1", named), ("group0.parameter1 (unnamed)", named)]
    assert find_parameters(again, [{"params": [named, unnamed]}]).watched[1].name not in names[:1]


def test_tied_weights_appear_once_under_their_first_name() -> None:
    model = nn.Module()
    model.add_module("embedding", nn.Embedding(4, 3))
    model.add_module("output", nn.Linear(3, 4, bias=False))
    model.output.weight = model.embedding.weight  # type: ignore[union-attr, assignment]
    assert names_of(model) == ["embedding.weight"]
    pairs = list(model.named_parameters(remove_duplicate=False))
    assert len(pairs) == 2
    assert [name for name, _ in named_parameters(pairs)] == ["embedding.weight"]


def test_pairs_of_name_and_parameter_will_do() -> None:
    model = small_model()
    assert [n for n, _ in named_parameters(model.named_parameters())] == names_of(model)


def test_one_name_for_two_parameters_is_refused() -> None:
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="'w'"):
        named_parameters([("w", weight), ("w", copy.deepcopy(weight))])


@pytest.mark.parametrize("model", [3, None, [1, 2], [("w", 3)], [(nn.Parameter(torch.ones(1)),)]])
def test_what_is_no_model_is_refused_with_the_remedy(model: object) -> None:
    with pytest.raises(TypeError, match=r"named_parameters\(\)"):
        named_parameters(model)  # type: ignore[arg-type]


def test_a_long_list_of_names_is_cut_in_messages() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(f"p{i}" for i in range(9)) == "p0, p1, p2, p3, p4 and 4 more"
