"""The Sparse Transformer around its attention: positions, initial weights, recomputation, options, cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_arena.layers import Stack
from attention_arena.measures.compute.flops import count_flops
from attention_arena.model import SequenceModel
from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.task import Objective
from attention_arena.variant import Backbone, Context, ModelShape
from attention_arena_variants.sparse import SPARSE, SparseOptions, adapt_shape, build, cost, initialise
from attention_arena_variants.sparse.positions import PositionedStack, SummedPositions

PAPER = SparseOptions(initialisation="paper")


def shape_of(options: SparseOptions, **fields: Any) -> ModelShape:
    sizes = {"d_model": 32, "n_heads": 2, "n_layers": 2, "d_ff": 64, "max_length": 24, "causal": True}
    return adapt_shape(options, ModelShape(**(sizes | fields)))


def backbone(seed: int = 0, *, fields: dict[str, Any] | None = None, **options: Any) -> PositionedStack:
    torch.manual_seed(seed)
    chosen = SparseOptions(**options)
    stack = build(chosen, shape_of(chosen, **(fields or {})))
    assert isinstance(stack, PositionedStack)
    return stack


def added(positions: SummedPositions, T: int, offset: int = 0) -> Tensor:
    return positions(torch.zeros(1, T, positions.tables[0].shape[1]), offset)[0].detach()


def test_attention_positions_are_the_block_and_the_place_in_it() -> None:
    positions = backbone(stride=5, positions="attention").positions
    assert positions is not None
    blocks, places = positions.tables
    assert (len(blocks), len(places)) == (5, 5)
    torch.testing.assert_close(added(positions, 24)[13], blocks[2] + places[3])
    assert torch.equal(added(positions, 4, offset=13), added(positions, 24)[13:17])


def test_data_positions_are_the_coordinates_with_the_last_fastest() -> None:
    positions = backbone(positions="data", data_sizes=(2, 4, 3)).positions
    assert positions is not None
    rows, columns, channels = positions.tables
    torch.testing.assert_close(added(positions, 24)[17], rows[1] + columns[1] + channels[2])


def test_positions_end_with_their_grid() -> None:
    """Beyond it they would begin anew, and two tokens have one position."""
    with pytest.raises(ValueError, match="summed positions reach 7 tokens, got 8; build the model for longer"):
        added(SummedPositions((2, 3), 4, n_before=1), 3, offset=5)


def test_a_cls_token_before_the_data_has_no_position() -> None:
    fields = {"max_length": 25, "pooling": "cls", "causal": False}
    positions = backbone(positions="data", data_sizes=(4, 6), fields=fields).positions
    plain = backbone(positions="data", data_sizes=(4, 6)).positions
    assert positions is not None
    assert plain is not None
    assert not added(positions, 25)[0].any()
    assert torch.equal(added(positions, 25)[1:], added(plain, 24))
    assert torch.equal(added(positions, 3, offset=22), added(positions, 25)[22:])


@pytest.mark.parametrize("options", [{"positions": "attention"}, {"positions": "data", "data_sizes": (4, 6)}], ids=str)
def test_steps_know_their_position(options: dict[str, Any]) -> None:
    stack = backbone(stride=4, **options).double().eval()
    x = torch.randn(2, 24, 32, dtype=torch.float64)
    state, found = None, []
    for t in range(24):
        hidden, state = stack.step(x[:, t : t + 1], Context(state=state))
        found.append(hidden)
    torch.testing.assert_close(torch.cat(found, 1), stack(x).hidden, rtol=0, atol=1e-10)


def test_own_positions_stand_in_for_the_shared_ones() -> None:
    assert shape_of(SparseOptions()).positions == "learned"
    assert shape_of(SparseOptions(positions="attention")).positions == "none"
    assert backbone().positions is None


def test_recomputation_is_a_departure_that_leaves_other_stacks_alone() -> None:
    assert shape_of(SparseOptions()).residual == "checkpointed"
    assert shape_of(SparseOptions(recompute=False)).residual == "plain"
    assert shape_of(SparseOptions(), residual="reversible").residual == "reversible"
    assert shape_of(SparseOptions(quick_gelu=True)).activation == "quick_gelu"
    assert shape_of(SparseOptions()).activation == "gelu"


def test_s5_recomputation_changes_neither_loss_nor_gradients() -> None:
    """Dropout included, to the last bit."""
    results = []
    for recompute in (True, False):
        stack = backbone(recompute=recompute, stride=4, combination="merged", fields={"dropout": 0.3}).train()
        x = torch.randn(2, 23, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
        torch.manual_seed(5)
        loss = stack(x).hidden.sin().sum()
        torch.manual_seed(6)  # backward brings its own generator state
        results.append((loss, *torch.autograd.grad(loss, [x, *stack.parameters()])))
    for checkpointed, plain in zip(*results, strict=True):
        assert torch.equal(checkpointed, plain)


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


def test_the_papers_deviations() -> None:
    """Of 0.125 / sqrt(fan-in), the ends of the branches divided by sqrt(2 N); 5 % is over five standard errors."""
    stack = backbone(initialisation="paper", d_qk=0.5, fields={"d_model": 128, "d_ff": 256, "n_layers": 8})
    for name, layer in linears(stack).items():
        is_last = name.endswith(("project_out", "narrow"))
        expected = 0.125 * layer.in_features**-0.5 * (16**-0.5 if is_last else 1)
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05), name
        assert layer.bias is None or not layer.bias.any()
    assert len(linears(stack)) == 8 * 5


def test_the_papers_positions_share_the_deviation_of_one_vector() -> None:
    positions = backbone(
        initialisation="paper", positions="data", data_sizes=(24, 24), fields={"d_model": 512}
    ).positions
    assert positions is not None
    for table in positions.tables:
        assert table.std().item() == pytest.approx(0.125 / (512 * 2) ** 0.5, rel=0.05)


@pytest.mark.parametrize("options", [{}, {"pattern": "fixed"}], ids=["strided", "fixed"])
def test_s6_the_residual_stream_starts_at_a_deviation_that_depth_does_not_move(options: dict[str, Any]) -> None:
    found = {}
    for n_layers in (2, 8, 64):
        fields = {"d_model": 128, "n_layers": n_layers, "d_ff": 256, "max_length": 48, "activation": "quick_gelu"}
        stack = backbone(initialisation="paper", **options, fields=fields)
        streams: list[Tensor] = []
        stack.final_norm.register_forward_pre_hook(lambda module, args, s=streams: s.append(args[0]))
        x = torch.randn(8, 48, 128, generator=torch.Generator().manual_seed(1)) * 0.125 / 128**0.5
        with torch.no_grad():
            stack(x)
        found[n_layers] = streams[0].std().item()
        assert found[n_layers] > 1.1 * x.std().item()  # the branches do add to the stream
    assert found[8] == pytest.approx(found[2], rel=0.1)
    assert found[64] == pytest.approx(found[2], rel=0.1)


def model(objective: Objective, options: SparseOptions) -> SequenceModel:
    torch.manual_seed(0)
    shape = shape_of(options, causal=objective.causal, d_model=128)
    found = SequenceModel(build(options, shape), shape, 256, objective)
    initialise(options, found)
    return found


def test_the_paper_initialises_what_is_around_the_backbone() -> None:
    for objective in (Classification(3), LanguageModeling(256, "byte")):
        found = model(objective, PAPER)
        assert found.embedding.weight.std().item() == pytest.approx(0.125 / 128**0.5, rel=0.05)
        assert found.positions.table.std().item() == pytest.approx(0.125 / 128**0.5, rel=0.05)
        hidden = torch.randn(2, 24, 128)
        logits = found.head(hidden, None) if isinstance(objective, Classification) else found.head(hidden)
        assert not logits.any()


def test_a_tied_head_keeps_the_embedding() -> None:
    found = model(LanguageModeling(256, "byte", tied=True), PAPER)
    assert found.head.weight is found.embedding.weight
    assert found.embedding.weight.std().item() == pytest.approx(0.125 / 128**0.5, rel=0.05)


def test_shared_initialisation_leaves_the_model_alone() -> None:
    found = model(Classification(3), SparseOptions())
    assert found.embedding.weight.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert found.head.classify.weight.any()


@pytest.mark.parametrize(
    ("options", "fields", "words"),
    [
        ({"stride": 25}, {}, "stride must not exceed max_length (24), got 25"),
        ({"pattern": "fixed", "stride": 4, "summary_width": 5}, {}, "summary_width must not exceed stride (4), got 5"),
        ({"combination": "multihead"}, {"n_heads": 1}, "n_heads of at least 2, got 1"),
        (
            {"pattern": "fixed", "stride": 4, "summary_width": 3, "combination": "merged", "distinct_summaries": True},
            {},
            "distinct summaries of 2 heads, 3 cells each, must fit into the stride (4)",
        ),
        ({"positions": "data", "data_sizes": (5, 4)}, {}, "must hold max_length (24) positions, got 5 x 4 = 20"),
        ({"d_qk": 0.3}, {"positions": "rotary", "d_model": 20}, "even width of queries, got 3"),
    ],
    ids=["stride", "summary", "heads", "distinct", "grid", "rotary"],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        backbone(**options, fields=fields)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"window": 0},
        {"stride": 0},
        {"pattern": "fixed", "window": 3},
        {"summary_width": 3},
        {"distinct_summaries": True},
        {"positions": "data"},
        {"data_sizes": (3, 4)},
        {"positions": "data", "data_sizes": ()},
        {"d_qk": 0},
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"SparseOptions"):
        SparseOptions(**options)


def flops(stack: Backbone, n: int) -> int:
    x = torch.empty(1, n, 64, device="meta")
    with torch.no_grad():
        return count_flops(lambda: stack(x))


@pytest.mark.parametrize("pattern", ["strided", "fixed"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_stated_cost_of_both_layers_is_that_counted(pattern: str, causal: bool) -> None:
    options = SparseOptions(pattern=pattern, recompute=False)  # type: ignore[arg-type]
    for n in (1000, 4096):
        shape = shape_of(options, d_model=64, d_ff=1, max_length=n, causal=causal, positions="none")
        with torch.device("meta"):
            stack = build(options, shape)
        assert isinstance(stack, Stack)
        feed_forward = 2 * 2 * n * 64
        counted = flops(stack, n) / 2 - feed_forward
        assert cost(options, shape, n).flops == pytest.approx(counted, rel=0.001)


def test_pairs_of_the_strided_pattern_are_near_the_papers_formula() -> None:
    """n w + n^2 / (2 l) pairs; a block computes twice the window, and groups of rows some later keys."""
    n, stride = 16384, 128
    for layer, ideal in ((0, n * (stride + 1)), (1, n * n / (2 * stride))):
        options = SparseOptions(stride=stride)
        shape = shape_of(options, d_model=64, max_length=n, n_layers=layer + 1)
        total = cost(options, shape, n).flops * (layer + 1)
        before = 0.0 if layer == 0 else cost(options, shape_of(options, d_model=64, max_length=n, n_layers=1), n).flops
        pairs = (total - before - 2 * n * 4 * 64 * 64) / (4 * 64)
        assert ideal <= pairs <= 2.1 * ideal


def test_the_catalogue_entry_names_its_hooks() -> None:
    assert SPARSE.initialise is initialise
    assert SPARSE.cost is cost
    assert SPARSE.adapt_shape is adapt_shape
