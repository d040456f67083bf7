"""The stack, the block and the positions that all variants share."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput, FeedForward, HeadAttention, Stack, rotate, sinusoids
from attention_arena.layers.block import Block
from attention_arena.layers.positions import LearnedPositions, NoPositions, SinusoidalPositions
from attention_arena.measures import saved_for_backward
from attention_arena.variant import Context, ModelShape


def shape_of(**fields: Any) -> ModelShape:
    return ModelShape(**({"d_model": 8, "n_heads": 2, "n_layers": 3, "d_ff": 16, "max_length": 12} | fields))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Counting(Attention):
    """Scales by the number of its forwards, which a repeated one is told."""

    def __init__(self) -> None:
        super().__init__()
        self.n_forwards = 0
        self.scales: list[int] = []

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        if context.replay is None:
            self.n_forwards += 1
        scale = context.replay or self.n_forwards
        self.scales.append(scale)
        return AttentionOutput(scale * x.sin(), replay=scale)


class Averaging(Attention):
    """Adds the mean over tokens; its state counts the calls, layer by layer."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        before = context.state or (self.layer, 0)
        assert before[0] == self.layer
        mean = x.mean(1, keepdim=True).expand_as(x)
        return AttentionOutput(self.scale * mean, (self.layer, before[1] + 1))

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        return self(x, context)  # type: ignore[no-any-return]


class Stateless(Attention):
    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(x.cumsum(1))


def build(**fields: Any) -> Stack:
    torch.manual_seed(0)
    return Stack(shape_of(**fields), Averaging).double()


class TestPositions:
    def test_sinusoids_are_those_of_the_paper_in_two_halves(self) -> None:
        found = sinusoids(torch.tensor([0, 3]), 6)
        assert found[0].tolist() == [0, 0, 0, 1, 1, 1]
        angles = [3 / 10000 ** (2 * i / 6) for i in range(3)]
        assert found[1].tolist() == pytest.approx([math.sin(a) for a in angles] + [math.cos(a) for a in angles])

    def test_an_odd_width_drops_the_last_cosine(self) -> None:
        found = sinusoids(torch.tensor([2]), 5)[0]
        angles = [2 / 10000 ** (2 * i / 5) for i in range(3)]
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles[:2]]
        assert found.tolist() == pytest.approx(expected)

    @pytest.mark.parametrize("shift", [1, 5, 40])
    def test_rotary_dot_products_depend_on_the_distance_alone(self, shift: int) -> None:
        query, key = normal(2, 6, 8), normal(2, 6, 8, seed=1)
        here = rotate(query) @ rotate(key).mT
        there = rotate(query, shift) @ rotate(key, shift).mT
        torch.testing.assert_close(there, here)

    def test_rotary_dot_products_do_depend_on_the_distance(self) -> None:
        query = normal(1, 1, 8).expand(1, 6, 8)
        products = rotate(query) @ rotate(query).mT
        assert (products[0, 0, 1:] - products[0, 0, 0]).abs().min() > 1e-3

    def test_rotation_keeps_lengths_and_leaves_position_zero(self) -> None:
        heads = normal(2, 5, 8)
        torch.testing.assert_close(rotate(heads).norm(dim=-1), heads.norm(dim=-1))
        torch.testing.assert_close(rotate(heads)[:, 0], heads[:, 0])

    def test_rotation_by_an_offset_is_that_of_the_later_positions(self) -> None:
        heads = normal(1, 9, 8)
        torch.testing.assert_close(rotate(heads[:, 4:], offset=4), rotate(heads)[:, 4:])

    def test_learned_positions_continue_at_the_offset(self) -> None:
        positions = LearnedPositions(10, 8)
        whole = positions(torch.zeros(1, 10, 8))
        torch.testing.assert_close(positions(torch.zeros(1, 4, 8), 6), whole[:, 6:])
        assert positions.table.std().item() == pytest.approx(0.02, rel=0.3)

    def test_learned_positions_end_with_their_table(self) -> None:
        with pytest.raises(ValueError, match=r"reach 10 tokens \(max_length\), got 11"):
            LearnedPositions(10, 8)(torch.zeros(1, 5, 8), 6)

    def test_sinusoidal_positions_scale_the_embedding_first(self) -> None:
        x = normal(2, 5, 16)
        expected = 4 * x + sinusoids(torch.arange(3, 8), 16)
        torch.testing.assert_close(SinusoidalPositions()(x, 3), expected)

    def test_no_positions_add_nothing(self) -> None:
        x = normal(1, 3, 4)
        assert NoPositions()(x, 7) is x


class TestHeadAttention:
    class Returning(HeadAttention):
        """Returns one of its inputs."""

        part = 2

        def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
            return (query, key, value)[self.part]

    def test_heads_are_split_and_merged_in_order(self) -> None:
        attention = self.Returning(shape_of()).double()
        x = normal(2, 5, 8)
        weight_v = attention.project_in.weight[16:]
        expected = x @ weight_v.T @ attention.project_out.weight.T
        torch.testing.assert_close(attention(x, Context()).hidden, expected)

    def test_query_key_and_value_are_each_xavier_uniform(self) -> None:
        attention = self.Returning(shape_of(d_model=64))
        bound = math.sqrt(6 / (64 + 64))
        for part in (*attention.project_in.weight.chunk(3), attention.project_out.weight):
            assert 0.95 * bound < part.abs().max().item() <= bound

    @pytest.mark.parametrize(("part", "turned"), [(0, True), (1, True), (2, False)])
    def test_rotary_positions_turn_query_and_key_alone(self, part: int, turned: bool) -> None:
        torch.manual_seed(0)
        attention = self.Returning(shape_of(positions="rotary")).double()
        attention.part = part
        attention.project_out.weight.data.copy_(torch.eye(8))
        heads = (normal(1, 5, 8) @ attention.project_in.weight.chunk(3)[part].T).view(1, 5, 2, 4).transpose(1, 2)
        expected = (rotate(heads) if turned else heads).transpose(1, 2).reshape(1, 5, 8)
        torch.testing.assert_close(attention(normal(1, 5, 8), Context()).hidden, expected)


class TestBlock:
    @pytest.mark.parametrize("norm", ["pre", "post"])
    def test_both_branches_are_residual(self, norm: str) -> None:
        torch.manual_seed(0)
        block = Block(shape_of(norm=norm), Stateless()).double()
        x = normal(2, 5, 8)
        first, second = block.attention_norm, block.feed_forward_norm
        if norm == "pre":
            middle = x + first(x).cumsum(1)
            expected = middle + block.feed_forward(second(middle))
        else:
            middle = first(x + x.cumsum(1))
            expected = second(middle + block.feed_forward(middle))
        torch.testing.assert_close(block(x, Context()).hidden, expected)

    def test_dropout_acts_on_both_branches_in_training_alone(self) -> None:
        torch.manual_seed(0)
        block = Block(shape_of(dropout=0.5), Stateless())
        x = torch.randn(2, 50, 8)
        for branch in (lambda: block.attention_branch(x, Context()).hidden, lambda: block.feed_forward_branch(x)):
            block.train()
            assert 0.4 < (branch() == 0).float().mean().item() < 0.6
            block.eval()
            assert not (branch() == 0).any()


class TestStack:
    def test_blocks_run_in_order_and_a_norm_ends_a_pre_norm_stack(self) -> None:
        stack = build()
        x = normal(2, 5, 8)
        expected = x
        for block in stack.blocks:
            expected = block(expected, Context()).hidden
        torch.testing.assert_close(stack(x).hidden, stack.final_norm(expected))
        assert isinstance(build(norm="post").final_norm, nn.Identity)

    def test_attention_is_built_layer_by_layer(self) -> None:
        assert [block.attention.layer for block in build().blocks] == [0, 1, 2]  # type: ignore[union-attr]

    @pytest.mark.parametrize("residual", ["plain", "checkpointed", "reversible"])
    def test_state_goes_to_the_layer_that_returned_it(self, residual: str) -> None:
        stack = build(residual=residual)
        x = normal(2, 5, 8)
        first = stack(x).state
        assert first == [(0, 1), (1, 1), (2, 1)]
        assert stack(x, Context(state=first)).state == [(0, 2), (1, 2), (2, 2)]

    def test_steps_thread_their_state_too(self) -> None:
        stack = build()
        first = stack.step(normal(2, 1, 8)).state
        assert stack.step(normal(2, 1, 8), Context(state=first)).state == [(0, 2), (1, 2), (2, 2)]

    def test_a_stack_without_state_returns_none(self) -> None:
        stack = Stack(shape_of(), lambda layer: Stateless())
        assert stack(torch.zeros(1, 2, 8)).state is None

    def test_checkpointing_changes_no_loss_and_no_gradient_under_dropout(self) -> None:
        results = []
        for residual in ("plain", "checkpointed"):
            stack = build(residual=residual, dropout=0.3).train()
            x = normal(2, 7, 8).requires_grad_()
            torch.manual_seed(5)
            loss = stack(x).hidden.sin().sum()
            loss.backward()
            results.append([loss, x.grad, *(parameter.grad for parameter in stack.parameters())])
        for plain, checkpointed in zip(*results, strict=True):
            assert torch.equal(plain, checkpointed)

    def test_checkpointing_keeps_one_input_a_block(self) -> None:
        kept = []
        for n_layers in (2, 6):
            stack = build(residual="checkpointed", n_layers=n_layers).train()
            x = normal(4, 12, 8).requires_grad_()
            kept.append(saved_for_backward(lambda s=stack, x=x: s(x).hidden, [x, *stack.parameters()]))
        input_bytes = 4 * 12 * 8 * 8
        assert input_bytes <= (kept[1] - kept[0]) / 4 < 1.5 * input_bytes

    def test_a_checkpointed_forward_is_repeated_with_what_it_decided(self) -> None:
        stack = Stack(shape_of(residual="checkpointed", n_layers=2), lambda layer: Counting()).double().train()
        x = normal(2, 5, 8).requires_grad_()
        first, second = stack(x).hidden, stack(x).hidden
        first.sum().backward()
        second.sum().backward()
        assert [block.attention.scales for block in stack.blocks] == [[1, 2, 1, 2]] * 2  # type: ignore[union-attr]

    def test_without_gradients_checkpointing_is_plain(self) -> None:
        x = normal(2, 7, 8)
        with torch.no_grad():
            assert torch.equal(build(residual="checkpointed")(x).hidden, build()(x).hidden)


class TestShape:
    def test_heads_must_divide_the_width(self) -> None:
        with pytest.raises(ValueError, match=r"multiple of n_heads \(3\), got 8"):
            shape_of(n_heads=3)

    def test_rotary_positions_need_an_even_head(self) -> None:
        with pytest.raises(ValueError, match="even head width, got 3"):
            shape_of(d_model=6, positions="rotary")

    def test_a_reversible_stack_refuses_post_norm(self) -> None:
        with pytest.raises(ValueError, match="norm: pre"):
            shape_of(norm="post", residual="reversible")

    def test_feed_forward_starts_without_bias(self) -> None:
        layer = FeedForward(shape_of())
        assert not layer.widen.bias.any()
        assert not layer.narrow.bias.any()
