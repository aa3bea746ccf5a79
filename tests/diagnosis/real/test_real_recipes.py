"""Training by published recipes: cases, settings, schedules, loops and texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from real.families import gan, reinforcement, text, worlds
from real.families.language_model import Block
from real.families.registry import FAMILIES
from real.recipe import kinds
from real.recipe.learner import Start
from real.recipe.loop import train
from real.recipe.optimizers import make_optimizers
from real.recipe.schedules import LearningRate, share_of_peak
from real.recipe.settings import Settings
from real.recordings.cases import case_named
from real_cases import CASES, case_of, one_core, tiny  # noqa: F401 - one_core is used by itself

from tb_adam_plugin.diagnosis.rules.registry import RULES

# --- what there is --------------------------------------------------------------------------------


def test_every_run_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case_named(case.name) == case for case in CASES)


def test_a_healthy_kind_has_two_seeds_in_a_half_and_the_halves_share_none() -> None:
    seeds = Counter((c.family.name, c.half, c.kind.name) for c in CASES if not c.kind.is_fault)
    assert set(seeds.values()) == {2}
    of_half = {half: {c.seed for c in CASES if c.half == half} for half in ("tuning", "reporting")}
    assert not of_half["tuning"] & of_half["reporting"]


def test_faults_name_rules_that_exist() -> None:
    named = {rule for family in FAMILIES for kind in family.kinds for rule in kind.rules}
    assert named <= {rule.id for rule in RULES}


def test_what_is_planted_changes_something() -> None:
    for case in CASES:
        usual = case.family.settings_of(case.half)
        assert (case.settings != usual) == (case.kind != kinds.HEALTHY), case.name


def test_a_family_is_published_at_least_in_part_for_each_half() -> None:
    by_family = {family.name: family.halves for family in FAMILIES}
    assert by_family["language_model"] == ("tuning", "reporting")
    assert sum(len(halves) for halves in by_family.values()) >= 24


# --- the recipe -----------------------------------------------------------------------------------


def rates_of(settings: Settings, steps: int) -> list[float]:
    """The learning rates of the first steps, over the peak."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=settings.learning_rate)
    rate = LearningRate(settings, [optimizer])
    found = []
    for step in range(1, steps + 1):
        found.append(optimizer.param_groups[0]["lr"] / settings.learning_rate)
        optimizer.step()
        rate.after_step(step)
    return found


def test_the_learning_rate_follows_its_schedule() -> None:
    cosine = Settings(10, 1, 0.5, schedule="cosine", warm_up_steps=4)
    assert rates_of(cosine, 4) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert share_of_peak(cosine, 4) == 1
    assert share_of_peak(cosine, 7) == pytest.approx(0.55)
    assert share_of_peak(cosine, 30) == pytest.approx(0.1)
    linear = Settings(10, 1, 0.5, schedule="linear")
    assert rates_of(linear, 10) == pytest.approx([1 - i / 10 for i in range(10)])


def test_a_scheduler_of_torch_that_is_stepped_too_often_rises_again() -> None:
    settings = Settings(20, 1, 0.5, schedule="torch cosine", final_share=0.0, schedule_times=2)
    rates = rates_of(settings, 20)
    assert rates[10] == pytest.approx(0, abs=1e-9)
    assert rates[19] > 0.9
    assert rates_of(replace(settings, schedule_every=5, schedule_times=1), 20)[19] > 0.9


def test_one_cycle_leaves_its_peak_in_the_group() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    LearningRate(Settings(10, 1, 0.5, schedule="onecycle", schedule_times=8), [optimizer])
    assert optimizer.param_groups[0]["max_lr"] == 0.5


def test_decay_is_of_the_matrices_alone_unless_it_is_of_everything() -> None:
    block = Block(8, 2)
    settings = Settings(1, 1, 1e-3, weight_decay=0.1, decays="matrices")
    (optimizer,) = make_optimizers(settings, block).values()
    decays = [(g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert decays == [(0.1, 4), (0.0, 2)]
    (optimizer,) = make_optimizers(replace(settings, decays="everything"), block).values()
    assert [len(g["params"]) for g in optimizer.param_groups] == [6]


def test_muon_gets_the_matrices_of_the_blocks() -> None:
    model = torch.nn.ModuleDict({"tokens": torch.nn.Embedding(4, 8), "block": Block(8, 2)})
    made = make_optimizers(Settings(1, 1, 1e-3, "muon and adamw"), model)
    counts = {name: sum(len(g["params"]) for g in o.param_groups) for name, o in made.items()}
    assert counts == {"muon": 4, "adamw": 3}


class Doubled:
    """A learner of one layer, with the loss of a fixed batch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: torch.nn.Module = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)
        )
        self.inputs = torch.randn(16, 4)
        self.bad: list[bool] = []

    def loss(self, *, bad: bool) -> torch.Tensor:
        self.bad.append(bad)
        error: torch.Tensor = self.model(self.inputs) - 2 * self.inputs
        return error.square().mean()

    def judge(self) -> float:
        return self.loss(bad=False).item()


def test_the_loop_trains_and_tells_the_step_of_the_bad_batch(tmp_path: Path) -> None:
    learner = Doubled()
    last = train(learner, Settings(6, 1, 0.05, bad_batch_at=3), tmp_path)
    assert last < learner.judge() * 2
    assert [i for i, bad in enumerate(learner.bad, start=1) if bad] == [3]


def test_a_frozen_layer_moves_on_by_its_momentum(tmp_path: Path) -> None:
    learner = Doubled()
    weights = []
    layer = learner.model.get_submodule("0")
    assert isinstance(layer, torch.nn.Linear)
    plain = learner.loss

    def loss(*, bad: bool) -> torch.Tensor:
        weights.append(layer.weight.detach().clone())
        return plain(bad=bad)

    learner.loss = loss  # type: ignore[method-assign]
    train(learner, Settings(8, 1, 0.05, frozen="0"), tmp_path)
    assert not layer.weight.requires_grad
    assert not torch.equal(weights[-1], weights[-2])


def test_the_discriminator_learns_from_what_the_generator_left_behind(tmp_path: Path) -> None:
    weights = []
    for kind in ("healthy", "leftover gradients"):
        case = case_of("gan", kind)
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(1)
        settings = replace(tiny(case), steps=3)
        learner = gan.GanLearner(Start("tuning", settings, generator, tmp_path))
        gan.train(learner, settings, tmp_path / kind)
        weights.append(torch.cat([p.detach().ravel() for p in learner.discriminator.parameters()]))
    assert not torch.equal(*weights)


def test_the_worlds_end_their_episodes() -> None:
    for make, least in ((worlds.CartPole, 8), (worlds.PointMass, 50)):
        world = make(3, torch.Generator().manual_seed(0))
        ended = torch.zeros(3)
        for _ in range(60):
            rewards, done = world.step(torch.zeros(3, dtype=torch.int64))
            ended += done
        assert rewards.shape == (3,)
        assert 0 < float(ended.min()) <= 60 / least


def test_advantages_are_those_of_the_definition() -> None:
    values, rewards = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [1.0]])
    ended = torch.tensor([[False], [True]])
    found = reinforcement._advantages(values, rewards, ended, torch.tensor([5.0]))
    last = 1.0 - 2.0
    first = 1.0 + 0.99 * 2.0 - 1.0 + 0.99 * 0.95 * last
    assert found[:, 0].tolist() == pytest.approx([first, last])


# --- texts ----------------------------------------------------------------------------------------


def test_a_text_is_spelled_in_its_pieces_and_in_bytes() -> None:
    pieces = text.frequent_pieces("return self\n    return self\n" * 9 + "é", 4)
    assert " self" in pieces
    assert "return" in pieces
    numbers = text.in_pieces("return self é", pieces)
    spelled = [
        pieces[number - 256].encode() if number >= 256 else bytes([number]) for number in numbers
    ]
    assert b"".join(spelled).decode() == "return self é"


def test_a_corpus_is_made_once_and_holds_files_out(tmp_path: Path) -> None:
    files = []
    for i in range(40):
        path = tmp_path / f"{i:02}.py"
        path.write_text(f"value_{'a' if i % 20 else 'b'} = {i}\n" * 40, encoding="utf-8")
        files.append(path)
    made = text.corpus("made_up", files, 300, tmp_path)
    again = text.corpus("made_up", [], 300, tmp_path)
    assert np.array_equal(made.training, again.training)
    assert 0 < made.held_out.size < made.training.size / 5
    assert ord("b") not in made.training
    batch = made.batch(torch.Generator().manual_seed(0), 3, 8)
    assert batch.shape == (3, 9)
    assert torch.equal(made.judged(2, 8), made.judged(2, 8))
