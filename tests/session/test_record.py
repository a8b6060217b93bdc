"""What `record` promises: exact numbers, an untouched training, and clear words when something is off."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

import jupyter_lossacc as la
from jupyter_lossacc.session import runs
from jupyter_lossacc.store import RunWriter
from jupyter_lossacc.views.words import loss_unit
from tests.digits import Training


def test_numbers_equal_those_the_loop_computed_itself(tmp_path: Path) -> None:
    training = Training()
    with la.record("exact", store=tmp_path, view="none"):
        training.run()
    run = la.last_run()
    val = run.metrics.query("split == 'val'")
    assert val["epoch"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(val["reported_loss"], [t[0] for t in training.truth], rtol=1e-6)
    np.testing.assert_allclose(val["accuracy"], [t[1] for t in training.truth], rtol=1e-9)
    assert run.samples().index.tolist() == list(range(400))
    assert run.steps["step"].tolist() == list(range(1, 25))
    assert run.status == "finished"


def test_training_is_bit_identical_with_and_without(tmp_path: Path) -> None:
    bare, watched = Training(), Training()
    bare.run()
    state = torch.get_rng_state()
    with la.record("twin", store=tmp_path, view="none", keep="all", keep_weights="best"):
        watched.run()
    assert torch.equal(state, torch.get_rng_state())
    for left, right in zip(bare.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert bare.truth == watched.truth


def test_samples_of_unknown_ids_are_numbered_as_positions(tmp_path: Path) -> None:
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    turned = DataLoader(TensorDataset(x, y), 8, collate_fn=lambda batch: default_collate(batch[::-1]))
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with la.record("turned", store=tmp_path, view="none"):
        for inputs, targets in turned:
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        with torch.no_grad():
            for inputs, targets in DataLoader(turned.dataset, 8, collate_fn=turned.collate_fn):
                nn.functional.cross_entropy(model(inputs), targets)
    for run in (la.last_run(), la.load_run("turned", tmp_path)):
        assert run.samples("train_eval").index.name == "position"
        with pytest.raises(la.DiagnosisError, match="not known which samples"):
            run.look([3], "train_eval", data=turned)
        assert "a collate_fn that keeps all of them in their order" in run.limits[0]


def test_a_loaded_run_says_what_the_live_one_said(tmp_path: Path) -> None:
    with la.record("again", store=tmp_path, view="none"):
        Training(epochs=8).run()
    live, loaded = la.last_run(), la.load_run("again", tmp_path)
    assert loaded.metrics.equals(live.metrics)
    assert loaded.samples().equals(live.samples())
    assert loaded.episodes == live.episodes
    assert loaded.report() == live.report()
    assert la.list_runs(tmp_path)["id"].tolist() == [live.id]


def test_advised_weights_give_the_recorded_loss(tmp_path: Path) -> None:
    training = Training(epochs=5)
    with la.record("weights", store=tmp_path, view="none", keep_weights="best"):
        training.run()
    fresh = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))
    run = la.load_run("weights", tmp_path)
    assert run.restore(fresh) == run.checkpoint.epoch
    digits = load_digits()
    with torch.no_grad():
        out = fresh.eval()(torch.tensor(digits.data[300:700] / 16, dtype=torch.float32))
    loss = nn.functional.cross_entropy(out, torch.tensor(digits.target[300:700])).item()
    assert run.checkpoint.epoch is not None
    assert loss == pytest.approx(training.truth[run.checkpoint.epoch - 1][0], abs=1e-6)
    if run.checkpoint.epoch == 5:
        expected = training.model.state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in fresh.state_dict().items())
    with pytest.raises(
        la.DiagnosisError, match=r"epoch 77, but kept are those of epochs [\d, ]+\. .*keep-weights"
    ):
        run.restore(fresh, epoch=77)


def test_a_test_set_at_the_end_takes_no_advised_weights_away(tmp_path: Path) -> None:
    x = torch.randn(300, 4)
    y = (x @ torch.randn(4, 3) + 2 * torch.randn(300, 3)).argmax(1)
    sets = [DataLoader(TensorDataset(x[i::3], y[i::3]), 20) for i in range(3)]
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)

    def go(data: DataLoader) -> None:  # type: ignore[type-arg]
        for a, b in data:
            loss = nn.functional.cross_entropy(model(a), b)
            if loss.requires_grad:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    with la.record("tested", store=tmp_path, view="none", keep_weights="best"):
        for _ in range(12):
            go(sets[0])
            with torch.no_grad():
                go(sets[1])
        with torch.no_grad():
            go(sets[2])
    run = la.last_run()
    assert run.recording.splits() == ("train", "val", "test")
    assert run.checkpoint.epoch not in (None, 12), "it overfits"
    assert run.restore(model) == run.checkpoint.epoch


def test_weights_of_another_model_are_refused_whole(tmp_path: Path) -> None:
    with la.record("weights", store=tmp_path, view="none", keep_weights="best"):
        Training(epochs=2).run()
    run = la.last_run()
    other = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10), nn.Linear(10, 10))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    words = (
        r"this Sequential differs: 4.bias was not trained; .*0.weight has shape \(16, 64\) here, \(32, 64\)"
    )
    with pytest.raises(la.DiagnosisError, match=words):
        run.restore(other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    wrapped = nn.ModuleDict(
        {"module": nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))}
    )
    epoch = run.restore(wrapped)  # as DistributedDataParallel names its weights
    fresh = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    run.restore(fresh, epoch)
    assert all(torch.equal(v, wrapped["module"].state_dict()[k]) for k, v in fresh.state_dict().items())
    with la.record("no weights", store=tmp_path, view="none"):
        Training(epochs=2).run()
    with pytest.raises(la.DiagnosisError, match="none were kept"):
        la.last_run().restore(fresh)


def test_resuming_continues_the_same_run(tmp_path: Path) -> None:
    with la.record("long", store=tmp_path, view="none"):
        Training(epochs=2).run()
    first = la.last_run()
    with la.record(store=tmp_path, view="none", resume="long"):
        Training(epochs=2, seed=1).run()
    run = la.load_run("long", tmp_path)
    assert run.id == first.id
    assert run.metrics.query("split == 'val'")["epoch"].tolist() == [1, 2, 3, 4]
    assert run.steps["step"].tolist() == list(range(1, 25))


def test_resuming_keeps_what_the_first_cell_named(tmp_path: Path) -> None:
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train_loader = DataLoader(TensorDataset(x[:40], y[:40]), 8, shuffle=True)
    held_loader = DataLoader(TensorDataset(x[40:], y[40:]), 8)

    def cell() -> None:
        for a, b in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(a), b).backward()
            optimizer.step()
        with torch.no_grad():
            for a, b in held_loader:
                nn.functional.cross_entropy(model(a), b)

    head = "%%lossacc named --split unseen=held_loader"
    options: dict[str, Any] = {"split": {"unseen": held_loader}, "classes": ("a", "b"), "keep": "all"}
    with la.record("named", store=tmp_path, view="none", cell=head, **options):
        cell()
    for _ in range(2):
        with la.record(view="none", resume=""):  # the store too
            cell()
    run = la.load_run("named", tmp_path)
    rows = run.metrics[["split", "epoch"]].to_numpy().tolist()
    assert rows == [[split, epoch] for epoch in (1, 2, 3) for split in ("train", "unseen")]
    assert len(run.samples("train", 3)) == 40
    with la.record(view="none", store=tmp_path, resume="named", split={"held": held_loader}):
        cell()
    assert run.id == la.last_run().id
    assert "held" in la.last_run().metrics["split"].tolist()
    with la.record("another", view="none", store="none"):
        cell()
    with la.record(view="none", store=tmp_path, resume="named"):  # what it named is not known any more
        cell()
    assert "named its data with --split, this one does not" in " ".join(la.last_run().limits)


def test_a_training_pass_stands_before_the_evaluations_that_end_it() -> None:
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    (x_train, x_val, x_test), (y_train, y_val, y_test) = x.split(20), y.split(20)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with la.record("slices", store="none", view="none"):
        for _ in range(3):
            for i in range(0, 20, 5):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x_train[i : i + 5]), y_train[i : i + 5]).backward()
                optimizer.step()
            with torch.no_grad():
                nn.functional.cross_entropy(model(x_val), y_val)
                nn.functional.cross_entropy(model(x_test), y_test)
    rows = la.last_run().metrics[["split", "epoch"]].to_numpy().tolist()
    assert rows == [[split, epoch] for epoch in (1, 2, 3) for split in ("train", "val", "test")]


def test_an_evaluation_that_computes_no_loss_is_no_broken_training(tmp_path: Path) -> None:
    training, digits = Training(), load_digits()
    images = torch.tensor(digits.data[700:900] / 16, dtype=torch.float32)
    held_out = TensorDataset(images, torch.tensor(digits.target[700:900]))
    with la.record("counted", store=tmp_path, view="none"):
        training.run()
        with torch.no_grad():
            for x, y in DataLoader(held_out, 50):
                (training.model(x).argmax(1) == y).sum()
    for run in (la.last_run(), la.load_run("counted", tmp_path)):
        last = run.metrics.iloc[-1]
        assert np.isnan(last.reported_loss)
        assert run.recording.summaries[-1].reported_loss == last.nll
        assert "NaN" not in run.report()
        assert "No criterion was called on the test data" in " ".join(run.limits)
        found = {f.cause: f.statement for f in run.diagnose()[-1].findings}
        assert found["double_softmax"].startswith("What cross_entropy receives are not probabilities")
        assert loss_unit(run.recording) == "nats"


def test_a_regression_is_said_to_have_no_accuracy_and_not_to_have_ended_early() -> None:
    x, model = torch.randn(40, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with la.record("regression", store="none", view="none"):
        for _ in range(3):
            nn.functional.mse_loss(model(x).squeeze(1), x.sum(1)).backward()
            optimizer.step()
    said = la.last_run().report()
    assert "this is a regression, which has no accuracy" in said
    assert "No epoch was completed" not in said


def test_steps_after_the_last_pass_are_taken_again(tmp_path: Path) -> None:
    with la.record("cut", store=tmp_path, view="none"):
        Training(epochs=2).run()
    cut = la.last_run()
    writer = RunWriter(tmp_path, cut.recording.info, cut.path)  # a kernel that was killed in epoch 3
    writer.append_steps({name: np.array([13.0, 14.0, 15.0]) for name in cut.steps})
    writer.close("cut off")
    assert len(la.load_run("cut", tmp_path).steps) == 15
    with la.record(store=tmp_path, view="none", resume="cut"):
        Training(epochs=1, seed=1).run()
    for run in (la.last_run(), la.load_run("cut", tmp_path)):
        assert run.steps["step"].tolist() == list(range(1, 19))
        assert run.steps["epoch"].tolist()[12:] == [3] * 6


def test_a_name_beside_a_run_to_resume_must_be_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with la.record(name, store=tmp_path, view="none"):
            Training(epochs=1).run()
    with pytest.raises(ValueError, match=r"got two: 'one' .* and 'two' to resume.*Write --resume one to"):
        la.record("one", store=tmp_path, view="none", resume="").start()
    with la.record("one", store=tmp_path, view="none", resume="one") as recorder:
        Training(epochs=1, seed=1).run()
    assert recorder.run.name == "one"
    assert len(la.list_runs(tmp_path)) == 2


def test_each_run_of_a_cell_says_what_it_lacks_itself(tmp_path: Path) -> None:
    x, y = torch.randn(64, 4), torch.arange(64) % 2
    loader = DataLoader(TensorDataset(x, y), 16, shuffle=True)
    models = [nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1)) for _ in range(2)]
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in models]
    with la.record("turns", store=tmp_path, view="none") as recorder:
        for _ in range(2):
            for model, optimizer in zip(models, optimizers, strict=True):
                model.train()
                for a, b in loader:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(a), b).backward()
                    optimizer.step()
            models[1].eval()
            with torch.no_grad():
                for a, b in DataLoader(TensorDataset(x.flip(0), y.flip(0)), 16):
                    nn.functional.cross_entropy(models[1](a), b)
    first, second = recorder.runs
    assert "only training was seen in this cell (2 epochs)" in first.limits[0]
    assert not any("only training was seen" in limit for limit in second.limits)
    for run in recorder.runs:  # each model's own mode, not that of the one that came last
        assert run.metrics.query("split == 'train'")["training"].tolist() == [True, True]


def test_validation_in_the_next_cell_joins_the_run(tmp_path: Path) -> None:
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with la.record("apart", store=tmp_path, view="none"):
        for a, b in DataLoader(TensorDataset(x[:40], y[:40]), 8, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(a), b).backward()
            optimizer.step()
    assert "only training was seen" in la.last_run().limits[0]
    with la.record(store=tmp_path, view="none", resume="apart"), torch.no_grad():
        for a, b in DataLoader(TensorDataset(x[40:], y[40:]), 8):
            nn.functional.cross_entropy(model(a), b)
    run = la.load_run("apart", tmp_path)
    assert run.metrics[["split", "epoch"]].to_numpy().tolist() == [["train", 1], ["val", 1]]
    assert not run.recording.limits


def test_an_error_passes_through_and_keeps_what_was_recorded(tmp_path: Path) -> None:
    training = Training()

    def fail() -> None:
        if len(training.truth) == 2:
            raise ZeroDivisionError("the user's own")

    training.after_step = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError, match="own"), la.record("failing", store=tmp_path, view="none"):
        training.run()
    run = la.load_run("failing", tmp_path)
    assert run.status == "failed"
    assert run.metrics.query("split == 'val' and complete")["epoch"].tolist() == [1, 2]


def test_stop_ends_the_training_after_a_step(tmp_path: Path) -> None:
    training = Training()
    recorder = la.record("stopped", store=tmp_path, view="none")
    training.after_step = recorder.stop.set  # type: ignore[method-assign]
    with pytest.raises(la.StopTraining) as stopped, recorder:
        training.run()
    assert stopped.value.step == 2
    assert la.last_run().status == "interrupted"


def test_a_failing_analysis_is_one_warning_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr("jupyter_lossacc.session.desk.summarize", broken)
    training = Training(epochs=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with la.record("broken", store=tmp_path, view="none"):
            training.run()
    assert len(training.truth) == 2
    assert {w.category for w in caught} == {la.LossAccWarning}
    assert len({str(w.message) for w in caught}) == 1


def test_a_full_disk_keeps_the_run_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jupyter_lossacc.store.writer.RunWriter.append_all", full)
    training = Training(epochs=3)
    with la.record("full", store=tmp_path, view="none"):
        training.run()
    run = la.last_run()
    assert len(run.metrics.query("split == 'val'")) == 3
    assert any("No space left" in line for line in run.limits)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"view": "pannel"}, "Did you mean 'panel'"),
        ({"keep": "some"}, "val, all, none"),
        ({"name": "a/b"}, "folder name"),
        ({"classes": "abc"}, "sequence of names"),
        ({"split": ["val"]}, "mapping"),
        ({"store": "none", "keep_weights": "best"}, "store"),
    ],
)
def test_a_wrong_option_says_what_was_expected(options: dict[str, object], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        la.record(**options)  # type: ignore[arg-type]


def test_recordings_do_not_nest(tmp_path: Path) -> None:
    with la.record(store="none", view="none"):
        with pytest.raises(la.CaptureError, match="do not nest"):
            la.record(store=tmp_path, view="none").start()
        Training(epochs=1).run()
    assert la.last_run().metrics["epoch"].max() == 1


def test_an_unknown_run_names_those_there_are(tmp_path: Path) -> None:
    with la.record("baseline", store=tmp_path, view="none"):
        Training(epochs=1).run()
    with pytest.raises(la.RunNotFoundError, match="baseline"):
        la.load_run("baselime", tmp_path)


def test_questions_without_an_answer_say_why(tmp_path: Path) -> None:
    with la.record("asked", store=tmp_path, view="none"):
        Training(epochs=2).run()
    run = la.last_run()
    with pytest.raises(la.DiagnosisError, match="train, val"):
        run.samples("test")
    with pytest.raises(la.DiagnosisError, match="keep all"):
        run.samples("train")
    with pytest.raises(la.DiagnosisError, match=r"1\.\.2"):
        run.samples(epoch=9)
    with pytest.raises(la.DiagnosisError):
        run.decompose(by="magic")


def test_the_text_view_writes_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with la.record("told", store=tmp_path / "new", view="text"):
        Training(epochs=2).run()
    out = capsys.readouterr().out
    assert "runs are stored in" in out
    assert "lossacc told: Finished · 2 epochs" in out


def test_samples_can_be_looked_at_while_their_dataset_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(64, 1, 8, 8)
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    data = TensorDataset(images, labels)

    def train(loader: DataLoader) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                for x, y in loader:
                    nn.functional.cross_entropy(model(x), y)

    with la.record("look", store=tmp_path, view="none") as recorder:
        train(DataLoader(data, 16))
        with pytest.raises(la.errors.DiagnosisError, match="after the training cell"):
            recorder.run.look([0], "train_eval")
    run = la.last_run()
    before = torch.get_rng_state()
    (shown,) = run.look([5], "train_eval")
    assert torch.equal(before, torch.get_rng_state())
    assert shown.kind == "image"
    assert shown.caption.startswith(f"{labels[5]}, ")
    assert "another one now" in run.look([5], "train_eval", data=TensorDataset(images, 1 - labels))[0].caption
    loaded = la.load_run("look", tmp_path)
    assert loaded.look([5], "train_eval")[0].caption == shown.caption
    monkeypatch.setattr(runs, "_read_here", {})  # in another process
    with pytest.raises(la.errors.DiagnosisError, match="Hand the dataset over"):
        la.load_run("look", tmp_path).look([5], "train_eval")
    del data
    with pytest.raises(la.errors.DiagnosisError, match="no longer exists"):
        run.look([5], "train_eval")


def test_several_runs_of_one_cell_are_numbered_from_the_first(tmp_path: Path) -> None:
    with la.record("folds", store=tmp_path, view="none") as recorder:
        for _ in range(3):
            Training(epochs=1).run()
    names = ["folds/1", "folds/2", "folds/3"]
    assert [run.name for run in recorder.runs] == names
    assert la.list_runs(tmp_path)["name"].tolist() == names
    assert [la.load_run(name, tmp_path).id for name in names] == [run.id for run in recorder.runs]
    assert la.load_run(recorder.runs[0].id, tmp_path).name == "folds/1"


def test_a_run_alone_keeps_its_name(tmp_path: Path) -> None:
    with la.record("alone", store=tmp_path, view="none") as recorder:
        Training(epochs=1).run()
    assert recorder.run.name == la.load_run("alone", tmp_path).name == "alone"
