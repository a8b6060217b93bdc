"""The Trainer of transformers: plain modules, BERT and a language model, datasets, evaluation by steps."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

import jupyter_lossacc as la
from tests.frameworks.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, Done, K, Net, parts, watched

NAN = float("nan")
WORDS, LENGTH = 64, 8

datasets.disable_progress_bars()


def arguments(**options: Any) -> TrainingArguments:
    usual: dict[str, Any] = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "learning_rate": 1e-2,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "log_level": "error",
    }
    return TrainingArguments("trained", **{**usual, **options})


class Notes(TrainerCallback):
    """Says where the next batch belongs, and keeps what the Trainer reports."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.evaluated: dict[str, list[tuple[float, float]]] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        TRUTH.at("train", int(state.epoch + 1e-6) + 1)

    on_substep_end = on_step_begin

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.rates.append(more["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        TRUTH.at("val", int(state.epoch - 1e-6) + 1, state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **more: Any) -> None:
        for name, loss in metrics.items():
            if name.endswith("_loss"):
                accuracy = metrics.get(name.replace("_loss", "_accuracy"), NAN)
                self.evaluated.setdefault("val", []).append((loss, accuracy))


def accuracy(predictions: Any) -> dict[str, float]:
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


def train(model: nn.Module, train_data: Any, eval_data: Any, **options: Any) -> tuple[Trainer, Notes]:
    notes = Notes()
    trainer = Trainer(
        model,
        arguments(**options),
        train_dataset=train_data,
        eval_dataset=eval_data,
        callbacks=[notes],
        compute_metrics=accuracy,
    )
    trainer.train()
    return trainer, notes


class Digits(torch.utils.data.Dataset[Any]):
    def __init__(self, split: str) -> None:
        self.x, self.y = parts()[split].tensors

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"pixels": self.x[i], "labels": self.y[i]}


class Classifier(nn.Module):
    """What the Trainer asks of a module that is not from transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.net(pixels)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def plain_module() -> Done:
    model = Classifier()
    _, notes = train(model, Digits("train"), Digits("val"))
    return Done(model, notes.evaluated, notes.rates)


def accumulated_gradients_and_workers() -> Done:
    model = Classifier()
    options = {"gradient_accumulation_steps": 2, "dataloader_num_workers": 1}
    _, notes = train(model, Digits("train"), Digits("val"), **options)
    return Done(model, notes.evaluated, notes.rates)


def evaluation_every_five_steps_then_prediction() -> Done:
    model = Classifier()
    trainer, notes = train(model, Digits("train"), Digits("val"), eval_strategy="steps", eval_steps=5)
    TRUTH.at("test", EPOCHS, trainer.state.global_step)
    trainer.predict(Digits("test"))
    return Done(model, notes.evaluated, notes.rates)


def evaluation_before_training() -> Done:
    model = Classifier()
    TRUTH.at("val", 0, 0)
    _, notes = train(model, Digits("train"), Digits("val"), eval_on_start=True)
    return Done(model, notes.evaluated, notes.rates)


class Bert(BertForSequenceClassification):
    """Two words of each text are its index: the truth reads them."""

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **more: Any
    ) -> Any:
        output = super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **more)
        TRUTH.saw(input_ids[:, 0] * WORDS + input_ids[:, 1], output.logits)
        return output


def bert() -> Bert:
    return Bert(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            num_labels=K,
        )
    )


def texts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    n = N_TRAIN + N_VAL
    words = torch.randint(1, WORDS, (n, LENGTH), generator=generator)
    words[:, 0], words[:, 1] = torch.arange(n) // WORDS, torch.arange(n) % WORDS
    return words, words[:, 2] % K


def dataset() -> Any:
    words, labels = texts()
    return datasets.Dataset.from_dict(
        {"text": ["not used"] * len(words), "input_ids": words.tolist(), "labels": labels.tolist()}
    )


def bert_on_a_split_dataset() -> Done:
    """Ids are rows of the whole table, though the Trainer sees two shuffled parts of it."""
    halves = dataset().train_test_split(N_VAL, seed=1)
    model = bert()
    options = {"lr_scheduler_type": "cosine", "warmup_steps": 4, "gradient_accumulation_steps": 2}
    _, notes = train(model, halves["train"], halves["test"], **options)
    labels = texts()[1]
    return Done(model, notes.evaluated, notes.rates, targets={"train": labels, "val": labels})


def bert_with_the_trainers_own_loss() -> Done:
    """`compute_loss` overridden, as class weights are usually brought in; here they are all one."""
    halves = dataset().train_test_split(N_VAL, seed=1)
    model = bert()

    class Weighted(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = nn.CrossEntropyLoss(weight=torch.ones(K))(outputs.logits, labels)
            return (loss, outputs) if return_outputs else loss

    notes = Notes()
    trainer = Weighted(
        model, arguments(), train_dataset=halves["train"], eval_dataset=halves["test"], callbacks=[notes]
    )
    trainer.train()
    labels = texts()[1]
    return Done(model, notes.evaluated, notes.rates, targets={"train": labels, "val": labels})


@pytest.mark.parametrize(
    "training",
    [
        plain_module,
        accumulated_gradients_and_workers,
        evaluation_every_five_steps_then_prediction,
        evaluation_before_training,
        bert_on_a_split_dataset,
        bert_with_the_trainers_own_loss,
    ],
)
def test_recorded_exactly(training: Any) -> None:
    watched(training)


def test_a_dataset_shuffled_anew_keeps_its_ids() -> None:
    data = dataset()
    loader_of = lambda seed: torch.utils.data.DataLoader(data.shuffle(seed=seed).with_format("torch"), 50)  # noqa: E731
    model = bert()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with la.record(store="none", view="none", keep="all") as recorder:
        for epoch in range(2):
            for batch in loader_of(epoch):
                loss = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    labels = texts()[1].numpy()
    for epoch in (1, 2):
        samples = recorder.run.samples("train", epoch)
        np.testing.assert_array_equal(samples.index, np.arange(N_TRAIN + N_VAL))
        np.testing.assert_array_equal(samples["target"], labels)


def test_a_language_model() -> None:
    """Every text is a sample; its loss is the mean over its tokens, as the Trainer reports it."""
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    words, _ = texts()
    data = datasets.Dataset.from_dict({"input_ids": words.tolist(), "labels": words.tolist()})
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    logits: list[Tensor] = []
    model.register_forward_hook(lambda m, a, out: logits.append(out.logits.detach().clone()))
    notes = Notes()
    trainer = Trainer(
        model,
        arguments(),
        train_dataset=data.select(range(N_TRAIN)),
        eval_dataset=data.select(range(N_TRAIN, N_TRAIN + N_VAL)),
        callbacks=[notes],
    )
    with la.record(store="none", view="none") as recorder:
        trainer.train()
    run = recorder.run
    mine = run.metrics.query("split == 'val'")
    assert mine.reported_loss.tolist() == pytest.approx(
        [loss for loss, _ in notes.evaluated["val"]], rel=1e-5
    )
    assert run.metrics.reported_loss.to_numpy() == pytest.approx(run.metrics.nll.to_numpy(), rel=1e-5)
    last = torch.cat(logits[-4:])[:, :-1].double().numpy()
    next_words = words[N_TRAIN:, 1:].numpy()
    nll = -np.take_along_axis(log_softmax(last, axis=2), next_words[..., None], 2)[..., 0].mean(1)
    samples = run.samples("val", EPOCHS)
    np.testing.assert_array_equal(samples.index, np.arange(N_VAL))
    np.testing.assert_allclose(samples["nll"], nll, atol=2e-5)
    right = (last.argmax(2) == next_words).mean(1)
    np.testing.assert_allclose(samples["correct"].astype(float), right, atol=1e-6)
    assert run.limits == ()


def test_label_smoothing_that_the_trainer_computes_by_hand() -> None:
    halves = dataset().train_test_split(N_VAL, seed=1)
    TRUTH.batches = []
    with la.record(store="none", view="none", keep="all") as recorder:
        _, notes = train(bert(), halves["train"], halves["test"], label_smoothing_factor=0.1)
    run = recorder.run
    labels = texts()[1].numpy()
    rows = {(row.split, row.epoch): row for row in run.metrics.itertuples()}
    for (split, epoch, _), (ids, logits) in TRUTH.passes().items():
        row = rows[split, epoch]
        assert row.accuracy == pytest.approx((logits.argmax(1).numpy() == labels[ids]).mean(), abs=1e-6)
        nll = -log_softmax(logits.double().numpy(), axis=1)[np.arange(len(ids)), labels[ids]]
        assert row.nll == pytest.approx(nll.mean(), abs=2e-6)
    mine = run.metrics.query("split == 'val'").reported_loss
    assert mine.tolist() == pytest.approx([loss for loss, _ in notes.evaluated["val"]], rel=2e-6)
    assert run.limits == ()


def test_one_line_above_train(shell: Any) -> None:
    halves = dataset().train_test_split(N_VAL, seed=1)
    notes = Notes()
    trainer = Trainer(
        bert(), arguments(), train_dataset=halves["train"], eval_dataset=halves["test"], callbacks=[notes]
    )
    shell.user_ns["trainer"] = trainer
    shell.run_cell("%%lossacc bert --store none --view none\ntrainer.train()").raise_error()
    metrics = la.last_run().metrics.query("split == 'val'")
    assert metrics.reported_loss.tolist() == pytest.approx(
        [loss for loss, _ in notes.evaluated["val"]], rel=2e-6
    )
