"""Lightning: automatic and manual optimisation, accumulation, sanity check, several loaders, Fabric."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from tests.frameworks.truth import EPOCHS, N_VAL, STEPS, TRUTH, Done, Net, loaders, parts, watched

NAN = float("nan")


class Digits(pl.LightningModule):
    """Written as in Lightning's own introduction; `TRUTH` and the notes are not a user's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.validated: list[tuple[float, float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        TRUTH.at("train", self.current_epoch + 1)
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        TRUTH.at("val", 0 if self.trainer.sanity_checking else self.current_epoch + 1, self.global_step)
        x, y = batch
        z = self.net(x)
        self.log("val_loss", F.cross_entropy(z, y))
        self.log("val_acc", (z.argmax(1) == y).float().mean())

    def on_validation_epoch_end(self) -> None:
        logged = self.trainer.callback_metrics
        self.validated.append((float(logged["val_loss"]), float(logged["val_acc"])))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        TRUTH.at("test", EPOCHS, self.steps_taken)
        x, y = batch
        self.log("test_loss", F.cross_entropy(self.net(x), y))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.norms.append(float(get_total_norm([p.grad for p in self.parameters()])))
        self.steps_taken = self.global_step + 1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), 1e-2)
        total = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=int(total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def done(self) -> Done:
        return Done(self, {"val": self.validated}, self.rates, self.norms)


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", **{**quiet, "enable_checkpointing": False, **options}
    )


def fit() -> Done:
    train_loader, val_loader, _ = loaders()
    model = Digits()
    trainer().fit(model, train_loader, val_loader)
    return model.done()


def fit_with_manual_optimisation() -> Done:
    class Manual(Digits):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            TRUTH.at("train", self.current_epoch + 1)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(F.cross_entropy(self.net(batch[0]), batch[1]))
            optimizer.step()
            self.lr_schedulers().step()

    train_loader, val_loader, _ = loaders()
    model = Manual()
    trainer().fit(model, train_loader, val_loader)
    return model.done()


def fit_with_accumulated_and_clipped_gradients() -> Done:
    train_loader, val_loader, _ = loaders()
    model = Digits()
    trainer(accumulate_grad_batches=2, gradient_clip_val=0.5).fit(model, train_loader, val_loader)
    done = model.done()
    done.norms = [min(norm, 0.5) for norm in done.norms]  # what the step used
    return done


def fit_then_test_with_checkpoints() -> Done:
    train_loader, val_loader, test_loader = loaders()
    model = Digits()
    lightning = trainer(enable_checkpointing=True, num_sanity_val_steps=0)
    lightning.fit(model, train_loader, val_loader)
    lightning.test(model, test_loader, ckpt_path="best", verbose=False)
    return model.done()


def validate_twice_an_epoch() -> Done:
    train_loader, val_loader, _ = loaders()
    model = Digits()
    trainer(val_check_interval=4, num_sanity_val_steps=0).fit(model, train_loader, val_loader)
    return model.done()


def data_module() -> Done:
    class Data(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return loaders()[0]

        def val_dataloader(self) -> Any:
            return loaders()[1]

    model = Digits()
    trainer(num_sanity_val_steps=0, reload_dataloaders_every_n_epochs=0).fit(model, datamodule=Data())
    return model.done()


def fabric() -> Done:
    fabric = Fabric(accelerator="cpu")
    train_loader, val_loader, _ = loaders()
    net = Net()
    model, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), 0.1))
    train_loader, val_loader = fabric.setup_dataloaders(train_loader, val_loader)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            fabric.backward(F.cross_entropy(model(x), y))
            optimizer.step()
        TRUTH.at("val", epoch, epoch * STEPS)
        model.eval()
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)
    return Done(net, rates=[0.1] * EPOCHS * STEPS)


@pytest.mark.parametrize(
    "training",
    [
        fit,
        fit_with_manual_optimisation,
        fit_with_accumulated_and_clipped_gradients,
        fit_then_test_with_checkpoints,
        validate_twice_an_epoch,
        data_module,
        fabric,
    ],
)
def test_recorded_exactly(training: Any) -> None:
    watched(training)


def test_the_sanity_check_is_epoch_0_and_not_a_whole_pass() -> None:
    run = watched(fit)
    first = run.metrics.query("split == 'val' and epoch == 0").iloc[0]
    assert (first.n_samples, first.step, first.complete) == (64, 0, False)
    rest = run.metrics.query("epoch > 0")
    assert rest.complete.all()
    assert set(rest.query("split == 'val'").n_samples) == {N_VAL}
    assert run.episodes == ()


def test_one_line_above_fit(shell: Any) -> None:
    data = parts()
    shell.user_ns.update(Digits=Digits, pl=pl, trainer=trainer(), train=data["train"], val=data["val"], nn=nn)
    shell.run_cell("from torch.utils.data import DataLoader\nmodel = Digits()").raise_error()
    cell = "%%lossacc lightning --store none --view none\n"
    cell += "trainer.fit(model, DataLoader(train, 32, shuffle=True), DataLoader(val, 32))"
    shell.run_cell(cell).raise_error()
    import jupyter_lossacc as la

    metrics = la.last_run().metrics.query("split == 'val'")
    assert metrics.epoch.tolist() == [0, 1, 2, 3]
    logged = [loss for loss, _ in shell.user_ns["model"].validated]
    assert metrics.reported_loss.tolist() == pytest.approx(logged, rel=2e-6)
