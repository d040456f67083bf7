"""What attention layers are given is what they were given, whatever stack they stand in, and the model stays whole."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.measures.diagnostics.capture import attention_layers, evaluating, intercepted, layer_inputs
from attention_arena.model import SequenceModel
from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.task import Batch
from attention_arena.variant import Backbone, BackboneOutput, Context, ModelShape

VOCABULARY = 7
RESIDUALS = ["plain", "checkpointed", "reversible"]


class Averaging(Attention):
    """Returns the mean over real tokens; its state counts the calls."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        real = torch.ones_like(x[..., :1]) if context.valid is None else context.valid.unsqueeze(-1).to(x)
        mean = (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return AttentionOutput(mean.expand_as(x), (context.state or 0) + 1)


class Raw(Averaging):
    """Reads its input before the norm, and never passes through the module's call."""

    def forward_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        return self.forward(norm(x.cumsum(1)), context)


class Recurrent(Backbone):
    """A backbone without attention."""

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        return BackboneOutput(x.cumsum(1))


def model_of(attention: type[Attention] = Averaging, pairs: bool = False, **fields: Any) -> SequenceModel:
    torch.manual_seed(0)
    shape = ModelShape(**{"d_model": 8, "n_heads": 2, "n_layers": 3, "d_ff": 16, "max_length": 6} | fields)
    objective = Classification(2) if pairs else LanguageModeling(VOCABULARY)
    return SequenceModel(Stack(shape, lambda layer: attention()), shape, VOCABULARY, objective)


def batch_of(*size: int, valid: Tensor | None = None) -> Batch:
    tokens = torch.randint(0, VOCABULARY, size, generator=torch.Generator().manual_seed(1))
    return Batch(tokens, tokens, valid)


class TestLayerInputs:
    @pytest.mark.parametrize("attention", [Averaging, Raw], ids=lambda kind: kind.__name__)
    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_the_call_can_be_repeated_from_what_is_returned(self, residual: str, attention: type[Attention]) -> None:
        model, batch = model_of(attention, residual=residual, dropout=0.5), batch_of(4, 6)
        outputs: list[Tensor] = []

        def note(layer: int, attend: Any, *given: Any) -> AttentionOutput:
            outputs.append(attend(*given).hidden)
            return attend(*given)  # type: ignore[no-any-return]

        with torch.no_grad(), evaluating(model), intercepted(model, note):
            model(batch)
        inputs = layer_inputs(model, batch)
        assert [each.attention for each in inputs] == attention_layers(model)
        for each, expected in zip(inputs, outputs, strict=True):
            repeated = each.attention.forward_raw(each.raw, each.norm, each.context).hidden
            torch.testing.assert_close(repeated, expected)

    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_x_is_what_follows_the_norm(self, residual: str) -> None:
        for each in layer_inputs(model_of(residual=residual), batch_of(2, 6)):
            torch.testing.assert_close(each.x, nn.functional.layer_norm(each.raw, (8,)))

    def test_where_the_norm_comes_after_the_residual_x_is_as_it_is(self) -> None:
        for each in layer_inputs(model_of(norm="post"), batch_of(2, 6)):
            assert torch.equal(each.x, each.raw)

    def test_the_first_layer_is_given_the_embedded_tokens(self) -> None:
        model, batch = model_of(dropout=0.5), batch_of(2, 6)
        embedded = model.positions(model.embedding(batch.tokens))
        torch.testing.assert_close(layer_inputs(model, batch)[0].raw, embedded.detach())

    def test_the_second_layer_of_a_reversible_stack_is_given_the_second_stream(self) -> None:
        model, batch = model_of(residual="reversible"), batch_of(2, 6)
        first, second = layer_inputs(model, batch)[:2]
        block = model.backbone.get_submodule("blocks.0")
        with torch.no_grad():
            y1 = first.raw + first.attention(first.x, first.context).hidden
            y2 = first.raw + block.feed_forward(block.feed_forward_norm(y1))  # type: ignore[operator]
        torch.testing.assert_close(second.raw, y2)

    def test_masks_and_state_are_in_the_context(self) -> None:
        valid = torch.arange(6) < torch.tensor([[6], [3]])
        model, batch = model_of(), batch_of(2, 6, valid=valid)._replace(resumes=torch.tensor([True, False]))
        inputs = layer_inputs(model, batch, state=[5, 6, 7])
        assert [each.context.state for each in inputs] == [5, 6, 7]
        assert all(each.context.valid is not None and torch.equal(each.context.valid, valid) for each in inputs)

    def test_both_sequences_of_a_pair_are_rows(self) -> None:
        assert layer_inputs(model_of(pairs=True), batch_of(3, 2, 6))[0].x.shape == (6, 6, 8)

    def test_a_backbone_without_attention_has_none(self) -> None:
        shape = ModelShape(d_model=8, n_heads=2, max_length=6)
        model = SequenceModel(Recurrent(), shape, VOCABULARY, LanguageModeling(VOCABULARY))
        assert layer_inputs(model, batch_of(2, 6)) == []


class TestTheModelStaysWhole:
    def test_mode_outputs_and_methods_are_as_before(self) -> None:
        model, batch = model_of(), batch_of(2, 6)
        model.train()
        model.positions.eval()
        before = model(batch).hidden
        layer_inputs(model, batch)
        assert model.training
        assert not model.positions.training
        assert all("forward_raw" not in vars(layer) for layer in attention_layers(model))
        assert torch.equal(model(batch).hidden, before)

    def test_so_are_they_after_an_error(self) -> None:
        model = model_of()
        with pytest.raises(ValueError, match="max_length"):
            layer_inputs(model, batch_of(2, 7)._replace(tokens=torch.zeros(2, 7, dtype=torch.int64)))
        assert model.training
        assert all("forward_raw" not in vars(layer) for layer in attention_layers(model))
