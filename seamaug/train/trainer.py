"""TRL's RewardTrainer with the losses of losses.py; the training itself is TRL's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch.nn import functional
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from seamaug.config import ContrastiveConfig, MetaConfig
from seamaug.errors import ConfigError
from seamaug.train.losses import contrasted, difference_objective, simcse_loss, swav_loss
from seamaug.train.policy_samples import PolicySamples

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


@dataclass
class PairCollator(DataCollatorForPreference):
    """TRL's collator, which also carries `smoothing` where the rows have it."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Token ids of the chosen, then of the rejected responses, right-padded."""
        batch: dict[str, Any] = super().torch_call(examples)
        if "smoothing" in examples[0]:
            batch["smoothing"] = torch.tensor([row["smoothing"] for row in examples])
        return batch


class RobustRewardTrainer(RewardTrainer):
    """Reward training with soft labels and margins, contrastive terms and MetaRM.

    Rows may have `margin` (TRL's own) and `smoothing`, the label's share a that goes to the
    rejected response. All else is TRL's RewardTrainer: arguments, LoRA, checkpoints, evaluation,
    and several processes (torchrun, accelerate launch), but for swav and, with MetaRM, shards.
    """

    def __init__(
        self,
        *args: Any,
        contrastive: ContrastiveConfig | None = None,
        meta: MetaConfig | None = None,
        policy_samples: PolicySamples | None = None,
        **kwargs: Any,
    ) -> None:
        """`policy_samples`: of the current policy, which `meta.step` needs.

        Raises ConfigError where the model cannot be trained so.
        """
        super().__init__(*args, **kwargs)
        self._contrastive = contrastive or ContrastiveConfig()
        self._meta = meta or MetaConfig()
        self._policy_samples = policy_samples
        self._micro_steps: int | None = None
        self.head = score_layer(self.model)
        if self._contrastive.method != "none":
            add_dropout(self.model, self._contrastive.dropout)
        if self._contrastive.method == "swav":
            if self.accelerator.num_processes > 1:
                raise ConfigError(
                    "swav's prototypes are trained in one process; set `contrastive.method: simcse`"
                )
            # Part of the layer, so that it is trained, kept in checkpoints and resumed with it.
            shape = (self._contrastive.clusters, self.head.in_features)
            start = torch.randn(shape, generator=torch.Generator().manual_seed(self.args.seed))
            own = start.to(self.head.weight.device, self.head.weight.dtype)
            self.head.register_parameter("prototypes", torch.nn.Parameter(own))
        if self._meta.step and policy_samples is None:
            raise ConfigError("`meta.step` needs samples of the policy: give `policy_samples`")
        if self._meta.step and self.accelerator.distributed_type in _SHARDED:
            raise ConfigError(
                "`meta.step` moves whole weights, which FSDP and DeepSpeed hold in shards; train "
                "with data parallelism (accelerate launch --multi_gpu), or LoRA"
            )

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        if "smoothing" not in self._signature_columns:
            self._signature_columns += ["smoothing"]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Bradley–Terry with margin and soft label, and the contrastive term while training."""
        smoothing = inputs.pop("smoothing", None)
        texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        contrasting = self.model.training and self._contrastive.method != "none"
        with features_of(self.head) as seen:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)  # type: ignore[no-untyped-call]
            if contrasting:
                model(**texts, use_cache=False)
        if smoothing is not None:
            # Beside −log σ(d−m), which is TRL's: the difference to losses.preference_loss.
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            loss = loss + (smoothing * (chosen - rejected - inputs.get("margin", 0.0))).mean()
        if contrasting:
            term = self._contrast([self._at_the_end(own, texts) for own in seen])
            loss = loss + self._contrastive.weight * term
            self._metrics["train"]["contrastive"].append(term.item())
        return (loss, outputs) if return_outputs else loss

    def _contrast(self, views: list[torch.Tensor]) -> torch.Tensor:
        first, second = (contrasted(view.float(), self._contrastive.on) for view in views)
        if self._contrastive.method == "simcse":
            return simcse_loss(first, second)
        return swav_loss(first, second, self.head.prototypes.float())

    def _at_the_end(self, states: torch.Tensor, texts: dict[str, torch.Tensor]) -> torch.Tensor:
        """Of the layer's inputs those that the scores were read from: (rows, width)."""
        if states.dim() == 2:
            return states
        ids = texts["input_ids"]
        told = ids != self.model.config.get_text_config().pad_token_id
        last = (told * torch.arange(ids.shape[1], device=ids.device)).argmax(-1)
        return states[torch.arange(len(ids), device=ids.device), last]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """TRL's step; with MetaRM its gradient is taken at θ' and left to be applied at θ.

        ``θ' = θ + η ∇J(X_s)``, then ``θ ← θ − α ∇_{θ'} L(θ'; X_t)`` (arXiv 2401.06080, section 4).
        """
        if not self._meta.step:
            return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[no-untyped-call]
        with self._told_apart(model, len(inputs["input_ids"])):
            return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[no-untyped-call]

    @contextmanager
    def _told_apart(self, model: Any, rows: int) -> Iterator[None]:
        """For the length of the block, weights that tell the policy's samples apart better."""
        assert self._policy_samples is not None
        if self._micro_steps is None:  # also after a resumed start
            self._micro_steps = self.state.global_step * self.args.gradient_accumulation_steps
        number = self._micro_steps * self.accelerator.num_processes + self.accelerator.process_index
        self._micro_steps += 1
        samples = self._policy_samples
        inputs = self._prepare_inputs(samples.batch(number, max(1, rows // samples.k)))
        plain = self.accelerator.unwrap_model(model).train()
        weights = [weight for weight in plain.parameters() if weight.requires_grad]
        with self.compute_loss_context_manager():
            rewards = plain(**inputs, use_cache=False).logits.view(-1, samples.k)
            objective = difference_objective(rewards.float())
        slopes = torch.autograd.grad(objective, weights, allow_unused=True)
        before = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                if slope is not None:
                    mean = self.accelerator.reduce(slope, "mean")
                    weight.add_(mean, alpha=self._meta.step)
        self._metrics["train"]["difference_objective"].append(objective.item())
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, own in zip(weights, before, strict=True):
                    weight.copy_(own)


def score_layer(model: Any) -> Any:
    """The trained linear layer whose one output is the score (LoRA keeps the first one beside it).

    Raises ConfigError where the model ends otherwise.
    """
    found = [
        layer
        for layer in model.modules()
        if isinstance(layer, torch.nn.Linear)
        and layer.out_features == 1
        and layer.weight.requires_grad
    ]
    if not found:
        raise ConfigError(
            "the model has no trained linear layer with one output, so it is no reward model that "
            "these losses know; start from a causal LM, or from a sequence classifier"
        )
    return found[-1]


def add_dropout(model: Any, rate: float) -> None:
    """Dropout on the embedded tokens while the model trains.

    Every model has that place, and what follows keeps its fast path: dropout inside attention has
    none on CPUs, where two views then took 2.5 to 3 times a plain step.
    """

    def drop(module: torch.nn.Module, _inputs: Any, embedded: torch.Tensor) -> torch.Tensor:
        return functional.dropout(embedded, rate, module.training)

    model.get_input_embeddings().register_forward_hook(drop)


@contextmanager
def features_of(layer: Any) -> Iterator[list[torch.Tensor]]:
    """What the layer is called on while the block runs."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()
