"""The callback for PyTorch Lightning, in trainings by Lightning itself, under both of its names.

It records the same as the plain callback does for the same training written as a loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_trainings import (
    BATCHES,
    EPOCHS,
    Configure,
    adam_debug,
    adamw,
    batches,
    lightning,
    make_module,
    network,
    trainer,
)
from recorded_run import read_run
from same_records import assert_same_records, trained
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tb_adam_plugin import run_data
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.lightning import AdamDebugLightningCallback

# Lightning's own: advice on loaders, and warnings of newer versions of torch to it.
pytestmark = [
    pytest.mark.filterwarnings(rf"ignore::{category}:{package}.*")
    for category in ("UserWarning", "DeprecationWarning", "FutureWarning")
    for package in ("lightning", "pytorch_lightning", "torchmetrics")
]


def plain(model: nn.Module, optimizer: Any, folder: Path) -> AdamDebugCallback:
    return AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=2, on_error="raise")


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_records_what_a_plain_loop_does(tmp_path: Path, name: str) -> None:
    """With a schedule, clipping and accumulation, whose last group of batches is incomplete."""
    package = lightning(name)

    def configure(model: nn.Module) -> Any:
        optimizer = adamw(model)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def fit(folder: Path, *callbacks: Any) -> Any:
        module = make_module(configure, package)
        fitting = trainer(
            folder, *callbacks, package=package, gradient_clip_val=0.1, accumulate_grad_batches=4
        )
        fitting.fit(module, batches())
        return trained(module.network, *fitting.optimizers)

    with_callback = fit(tmp_path / "lightning", adam_debug())
    assert with_callback == fit(tmp_path / "without")
    assert not (tmp_path / "without" / "adam_debug").exists()

    model = network()
    (optimizer,), (scheduler,) = configure(model)
    with plain(model, optimizer, tmp_path / "plain") as debug:
        for _ in range(EPOCHS):
            for first in range(0, BATCHES, 4):
                losses = [
                    mse_loss(model(inputs), targets)
                    for inputs, targets in list(batches())[first : first + 4]
                ]
                optimizer.zero_grad()
                for loss in losses:
                    (loss / 4).backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                debug.record(loss=torch.stack(losses).mean(), gradient_norm_before_clip=norm)
                optimizer.step()
                scheduler["scheduler"].step()
    assert with_callback == trained(model, optimizer)
    run = assert_same_records(
        tmp_path / "lightning", tmp_path / "plain", prefix="network.", within=1e-6
    )
    assert len(run.steps) == 6


def test_the_trainer_of_either_package_takes_it_alone(tmp_path: Path) -> None:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        assert lightning(name).Trainer(callbacks=adam_debug(), logger=False)  # not in a list


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(tmp_path: Path, precision: str) -> None:
    """The loss is the unscaled one; a step that overflows does not count."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16

    def scaler() -> Any:
        enabled = precision == "16-mixed"
        # Large enough for the first gradients to overflow.
        return torch.amp.GradScaler("cpu", init_scale=2.0**20, enabled=enabled)

    plugin = lightning().plugins.MixedPrecision(
        precision, "cpu", scaler() if precision == "16-mixed" else None
    )
    module = make_module()
    fitting = trainer(tmp_path / "lightning", adam_debug(), plugins=[plugin])
    fitting.fit(module, batches())

    model, scale, skipped = network(), scaler(), 0
    optimizer = adamw(model)
    with plain(model, optimizer, tmp_path / "plain") as debug:
        for inputs, targets in [*batches()] * EPOCHS:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype):
                loss = mse_loss(model(inputs), targets)
            scale.scale(loss).backward()
            before = scale.get_scale()
            debug.record(loss=loss, **({"loss_scale": before} if scale.is_enabled() else {}))
            scale.step(optimizer)
            scale.update()
            skipped += scale.get_scale() < before
    assert trained(module.network, *fitting.optimizers) == trained(model, optimizer)
    run = assert_same_records(tmp_path / "lightning", tmp_path / "plain", prefix="network.")
    assert (skipped > 0) == (precision == "16-mixed")
    assert len(run.steps) == EPOCHS * BATCHES - skipped


class TwoNetworks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = network(), network()

    def loss(self, part: str, batch: Any) -> Tensor:
        return mse_loss(getattr(self, part)(batch[0]), batch[1] * len(part))


def test_manual_optimization_of_several_optimizers(tmp_path: Path) -> None:
    """Each has a separate run, named after what it trains, with the loss of its own backward."""
    parts = {"generator": 1e-2, "discriminator": 1e-3}

    def configure(model: Any) -> list[torch.optim.Optimizer]:
        networks = model.network
        return [torch.optim.Adam(getattr(networks, p).parameters(), lr) for p, lr in parts.items()]

    def training_step(self: Any, batch: Any, index: int) -> None:
        for part, optimizer in zip(parts, self.optimizers(), strict=True):
            if part == "discriminator" and index % 2:
                continue
            optimizer.zero_grad()
            self.manual_backward(self.network.loss(part, batch))
            optimizer.step()

    module = make_module(configure, training_step=training_step)
    module.automatic_optimization = False
    module.network = TwoNetworks()
    callback = adam_debug()
    trainer(tmp_path / "lightning", callback, max_epochs=1).fit(module, batches())
    assert callback.debugs == ()

    model = TwoNetworks()
    for part, lr in parts.items():
        optimizer = torch.optim.Adam(getattr(model, part).parameters(), lr)
        with plain(getattr(model, part), optimizer, tmp_path / part) as debug:
            for index, batch in enumerate(batches()):
                if part == "discriminator" and index % 2:
                    continue
                optimizer.zero_grad()
                loss = model.loss(part, batch)
                loss.backward()
                debug.record(loss=loss)
                optimizer.step()
        folder = tmp_path / "lightning" / part
        assert_same_records(folder, tmp_path / part, prefix=f"network.{part}.")
    assert trained(module.network) == trained(model)


def test_optimizers_of_one_part_are_told_apart_by_their_class(tmp_path: Path) -> None:
    def configure(model: nn.Module) -> list[torch.optim.Optimizer]:
        matrices = [p for p in model.parameters() if p.ndim == 2]
        vectors = [p for p in model.parameters() if p.ndim == 1]
        return [torch.optim.SGD(matrices, lr=0.1), torch.optim.Adam(vectors)]

    def training_step(self: Any, batch: Any, index: int) -> None:
        loss = mse_loss(self.network(batch[0]), batch[1])
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def fit(callback: Any, max_epochs: int, checkpoint: Any = None) -> Any:
        module = make_module(configure, training_step=training_step)
        module.automatic_optimization = False
        fitting = trainer(tmp_path, callback, max_epochs=max_epochs)
        fitting.fit(module, batches(), ckpt_path=checkpoint)
        return fitting

    with pytest.raises(ValueError, match="writer= takes one optimizer, but there are 2"):
        fit(adam_debug(writer=object()), 1)
    fit(adam_debug(), 1).save_checkpoint(tmp_path / "checkpoint")
    # SGD without momentum has no state: its steps are those that the checkpoint noted.
    fit(adam_debug(), 2, tmp_path / "checkpoint")
    for name, class_name in (("optimizer0_SGD", "SGD"), ("optimizer1_Adam", "Adam")):
        run = read_run(tmp_path / name)
        assert sorted(run.steps) == list(range(1, 2 * BATCHES + 1))
        assert run.layout.groups[0].optimizer == class_name
        assert run.layout.unoptimized == ()
    losses = [read_run(tmp_path / f"optimizer{i}_{n}").steps for i, n in enumerate(("SGD", "Adam"))]
    assert [row["loss"] for row in losses[0].values()] == [r["loss"] for r in losses[1].values()]


def fits_in_two_halves(folder: Path, optimizer: Configure, watched_first: bool = True) -> None:
    for epochs in (1, 2):
        logger = lightning().loggers.TensorBoardLogger(folder, name="", version="run")
        callbacks = [adam_debug()] if watched_first or epochs == 2 else []
        fitting = trainer(folder, *callbacks, max_epochs=epochs, logger=logger, log_every_n_steps=1)
        path = folder / "half.ckpt" if epochs == 2 else None
        fitting.fit(make_module(optimizer), batches(), ckpt_path=path)
        fitting.save_checkpoint(folder / "half.ckpt")


def test_a_resumed_run_goes_on_beside_the_scalars_of_its_logger(tmp_path: Path) -> None:
    fits_in_two_halves(tmp_path, adamw)
    model = network()
    optimizer = adamw(model)
    with plain(model, optimizer, tmp_path / "plain") as debug:
        for inputs, targets in [*batches()] * EPOCHS:
            optimizer.zero_grad()
            loss = mse_loss(model(inputs), targets)
            loss.backward()
            debug.record(loss=loss)
            optimizer.step()
    # After a resume the first step, 11, is recorded regardless of the schedule.
    run, expected = read_run(tmp_path / "run"), read_run(tmp_path / "plain")
    assert sorted(run.steps) == sorted(expected.steps) == list(range(1, 21))
    assert [r["loss"] for r in run.steps.values()] == [r["loss"] for r in expected.steps.values()]
    assert sorted(run.statistics) == sorted([*expected.statistics, 11])
    assert run.statistics[20].tobytes() == expected.statistics[20].tobytes()
    (shown,) = [r for r in run_data.load_runs(tmp_path) if "plain" not in r.name]
    assert shown.name == "run"
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("watched_first", [True, False])
def test_an_optimizer_without_state_goes_on_counting(tmp_path: Path, watched_first: bool) -> None:
    fits_in_two_halves(
        tmp_path, lambda model: torch.optim.SGD(model.parameters(), 0.1), watched_first
    )
    first = 1 if watched_first else BATCHES + 1
    assert sorted(read_run(tmp_path / "run").steps) == list(range(first, 2 * BATCHES + 1))


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_one_callback_counts_anew_in_each_fold_and_on_where_a_trainer_goes_on(
    tmp_path: Path, name: str
) -> None:
    callback = adam_debug()

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = getattr(torch.optim, name)(module.parameters(), lr=0.01)
        return made

    for fold in range(3):
        logger = lightning().loggers.TensorBoardLogger(tmp_path, name="fold", version=fold)
        fitting = trainer(tmp_path, callback, max_epochs=1, logger=logger)
        module = make_module(optimizer)
        fitting.fit(module, batches())
        assert sorted(read_run(tmp_path / f"fold/version_{fold}").steps) == list(range(1, 11))
    fitting.fit_loop.max_epochs = 2
    fitting.fit(module, batches())
    assert sorted(read_run(tmp_path / "fold/version_2").steps) == list(range(1, 21))


@pytest.mark.parametrize("where", ["CSVLogger", "both loggers", "no logger", "log_dir"])
def test_where_the_run_is_written(tmp_path: Path, where: str) -> None:
    loggers = lightning().loggers
    csv = loggers.CSVLogger(tmp_path, name="csv", version=3)
    board = loggers.TensorBoardLogger(tmp_path, name="board")
    logger, folder = {
        "CSVLogger": (csv, "csv/version_3"),
        "both loggers": ([csv, board], "board/version_0"),
        "no logger": (False, ""),
        "log_dir": (board, "mine"),
    }[where]
    options = {"log_dir": tmp_path / "mine"} if where == "log_dir" else {}
    fitting = trainer(tmp_path, adam_debug(**options), logger=logger, max_steps=1)
    fitting.fit(make_module(), batches())
    assert len(list(tmp_path.rglob("adam_debug"))) == 1
    assert sorted(read_run(tmp_path / folder).steps) == [1]


def event_files(folder: Path) -> Iterator[Path]:
    return folder.rglob("events.out.tfevents.*")


def test_nothing_is_recorded_where_nothing_is_trained(tmp_path: Path) -> None:
    trainer(tmp_path, adam_debug(), fast_dev_run=True).fit(make_module(), batches(), batches())
    trainer(tmp_path, adam_debug()).validate(make_module(), batches())
    trainer(tmp_path, adam_debug()).test(make_module(), batches())
    trainer(tmp_path, adam_debug()).fit(make_module(lambda self: None), batches())
    assert not list(event_files(tmp_path))
    fitting = trainer(tmp_path, adam_debug(), max_steps=3, num_sanity_val_steps=2)
    fitting.fit(make_module(), batches(), batches())
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3]


def test_an_exception_in_training_closes_the_file(tmp_path: Path) -> None:
    def training_step(self: Any, batch: Any, index: int) -> Tensor:
        if index == 5:
            raise KeyError("bad batch")
        return mse_loss(self.network(batch[0]), batch[1])

    module = make_module(training_step=training_step)
    fitting = trainer(tmp_path, adam_debug(every_n_steps=100))
    with pytest.raises(KeyError):
        fitting.fit(module, batches())
    # Step 5 waited for the next record.
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3, 4, 5]
    (optimizer,) = fitting.optimizers
    plain(module.network, optimizer, tmp_path / "next").close()  # nothing watches it any more


def test_lbfgs_records_the_loss_of_its_last_evaluation(tmp_path: Path) -> None:
    seen = []

    def training_step(self: Any, batch: Any, index: int) -> Tensor:
        loss = mse_loss(self.network(batch[0]), batch[1])
        seen.append(loss.item())
        return loss

    def configure(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(model.parameters(), max_iter=3)

    module = make_module(configure, training_step=training_step)
    trainer(tmp_path, adam_debug(), max_steps=1).fit(module, batches())
    assert len(seen) > 1
    assert read_run(tmp_path).steps[1]["loss"] == pytest.approx(seen[-1])


def test_options_are_those_of_the_callback(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="every_n_step'"):
        AdamDebugLightningCallback(every_n_step=3)
    with pytest.raises(TypeError, match="optimizer"):
        AdamDebugLightningCallback(optimizer=None)
    with pytest.raises(ValueError, match="every_n_steps=0"):
        trainer(tmp_path, adam_debug(every_n_steps=0)).fit(make_module(), batches())


@pytest.mark.parametrize(
    ("options", "last"),
    [({"max_epochs": 7}, 70), ({"max_epochs": -1, "max_steps": 45}, 45), ({"max_steps": 41}, 20)],
)
def test_the_last_step_is_recorded_where_lightning_knows_it(
    tmp_path: Path, options: dict[str, Any], last: int
) -> None:
    callback = AdamDebugLightningCallback(max_overhead=1.0, every_n_steps=1000)
    trainer(tmp_path, callback, **options).fit(make_module(), batches())
    assert max(read_run(tmp_path).statistics) == last
