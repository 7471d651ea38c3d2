"""The table of moving averages, against explicit arithmetic."""

import copy
import io

import pytest
import torch

from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.types import Targets


@pytest.mark.parametrize("momentum", [0.0, 0.7, 0.9])
@pytest.mark.parametrize("visits", [1, 2, 5])
def test_constant_values_are_approached_geometrically(momentum: float, visits: int):
    table = SampleBuffer(4, 3, momentum)
    for _ in range(visits):
        table.update(torch.tensor([[2.0, 1.0, -4.0]]), torch.tensor([2]))
    expected = torch.tensor([2.0, 1.0, -4.0], dtype=torch.float64) * (1 - momentum**visits)
    torch.testing.assert_close(table.rows[2].double(), expected, rtol=1e-6, atol=1e-6)


def test_worked_example():
    # Logits [2, 1, 0], momentum 0.7: methods sheet, section 8.
    table = SampleBuffer(1, 3, 0.7)
    for expected in ([0.6, 0.3, 0.0], [1.02, 0.51, 0.0], [1.314, 0.657, 0.0]):
        table.update(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]))
        torch.testing.assert_close(table.rows[0], torch.tensor(expected))


def test_only_visited_rows_move():
    table = SampleBuffer(5, 2, 0.5, initial=3.0)
    table.update(torch.tensor([[1.0, 5.0], [7.0, 3.0]]), torch.tensor([4, 1]))
    assert table.rows.tolist() == [[3.0, 3.0], [5.0, 3.0], [3.0, 3.0], [3.0, 3.0], [2.0, 4.0]]


def test_duplicates_in_a_batch_move_their_row_once_towards_their_mean():
    table = SampleBuffer(3, 1, 0.75, initial=8.0)
    table.update(torch.tensor([[0.0], [4.0], [5.0], [8.0]]), torch.tensor([1, 1, 0, 1]))
    # Row 1: 0.75 * 8 + 0.25 * (0 + 4 + 8) / 3 = 7; row 0: 0.75 * 8 + 0.25 * 5 = 7.25.
    assert table.rows.squeeze(1).tolist() == [7.25, 7.0, 8.0]


def test_order_within_a_batch_does_not_matter(generator: torch.Generator):
    rows, index = torch.randn(6, 3, generator=generator), torch.tensor([5, 0, 3, 1, 4, 2])
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    one, other = SampleBuffer(6, 3, 0.6), SampleBuffer(6, 3, 0.6)
    one.update(rows, index)
    other.update(rows[order], index[order])
    assert torch.equal(one.rows, other.rows)


def test_filled_whole_it_keeps_nothing_of_the_old_rows_and_averages_on_from_the_new_ones():
    table, rows = SampleBuffer(3, 2, momentum=0.5, initial=9.0), torch.arange(6.0).reshape(3, 2)
    table.fill(rows.double())
    assert torch.equal(table.rows, rows)
    rows.zero_()
    table.update(torch.tensor([[4.0, 0.0]]), torch.tensor([2]))
    assert table.rows.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 2.5]]


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (3,)])
def test_rows_of_another_shape_do_not_fill_it(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"the table has shape \(3, 2\), got rows of shape"):
        SampleBuffer(3, 2, momentum=0.5).fill(torch.zeros(shape))


def test_reads_the_rows_of_all_samples_that_a_row_is_mixed_from():
    table = SampleBuffer(4, 2, 0.0)
    table.update(torch.arange(8.0).view(4, 2), torch.arange(4))
    index = torch.tensor([[3, 0, 1], [2, 2, 0]])
    read = table.read(Targets(torch.zeros_like(index), index, torch.full((2, 3), 0.5)))
    assert read.shape == (2, 3, 2)
    for v in range(2):
        for b in range(3):
            assert read[v, b].tolist() == [2.0 * index[v, b], 2.0 * index[v, b] + 1]


def test_reading_leaves_the_table_alone():
    table = SampleBuffer(3, 2, 0.5, initial=1.0)
    read = table.read(Targets.unmixed(torch.tensor([0]), torch.tensor([1])))
    read.zero_()
    assert torch.equal(table.rows, torch.ones(3, 2))


def test_no_gradient_reaches_the_table_and_later_changes_of_the_rows_neither():
    table = SampleBuffer(2, 2, 0.0)
    rows = torch.ones(1, 2, requires_grad=True)
    table.update(rows, torch.tensor([0]))
    assert not table.rows.requires_grad
    with torch.no_grad():
        rows.mul_(5)
    assert table.rows[0].tolist() == [1.0, 1.0]


def test_is_state_but_no_registered_buffer_or_parameter():
    # Data-parallel training copies rank 0's buffers over the others' and would lose their updates.
    table = SampleBuffer(3, 2, 0.5)
    assert not list(table.buffers()) and not list(table.parameters())
    assert table.state_dict()


def test_saved_and_loaded_it_goes_on_as_if_never_stopped(generator: torch.Generator):
    straight = torch.nn.Sequential(SampleBuffer(5, 3, 0.8))
    straight[0].update(torch.randn(4, 3, generator=generator), torch.tensor([0, 2, 3, 4]))
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed = torch.nn.Sequential(SampleBuffer(5, 3, 0.8))
    resumed.load_state_dict(torch.load(file, weights_only=True))
    rows = torch.randn(2, 3, generator=generator)
    for module in (straight, resumed):
        module[0].update(rows, torch.tensor([1, 2]))
    assert straight[0].rows.abs().sum() > 0
    assert torch.equal(straight[0].rows, resumed[0].rows)


@pytest.mark.parametrize(("samples", "columns"), [(6, 3), (5, 4)])
def test_a_table_of_another_size_is_refused_by_name(samples: int, columns: int):
    with pytest.raises(ValueError, match=rf"\(5, 3\).*\({samples}, {columns}\)"):
        SampleBuffer(samples, columns, 0.5).load_state_dict(SampleBuffer(5, 3, 0.5).state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_its_values_when_the_module_around_it_changes_precision(dtype: torch.dtype):
    table = SampleBuffer(2, 2, 0.5, initial=0.1)
    torch.nn.Sequential(torch.nn.Linear(1, 1), table).to(dtype)
    assert table.rows.dtype == torch.float32
    assert torch.equal(table.rows, torch.full((2, 2), 0.1))


def test_half_precision_rows_are_averaged_in_float32():
    table = SampleBuffer(1, 1, 0.7)
    for _ in range(3):
        table.update(torch.tensor([[1.0]], dtype=torch.float16), torch.tensor([0]))
    assert table.rows.dtype == torch.float32
    assert table.rows.item() == pytest.approx(0.657, abs=1e-6)


def test_a_copy_is_independent():
    table = SampleBuffer(2, 1, 0.0)
    other = copy.deepcopy(table)
    other.update(torch.tensor([[1.0]]), torch.tensor([0]))
    assert table.rows.tolist() == [[0.0], [0.0]]
    assert other.rows.tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 1.5, float("nan")])
def test_a_momentum_outside_its_range_is_named(momentum: float):
    with pytest.raises(ValueError, match=f"momentum.*{momentum}"):
        SampleBuffer(2, 2, momentum)


@pytest.mark.parametrize(("samples", "columns"), [(0, 3), (3, 0), (-1, 2)])
def test_an_empty_table_is_named(samples: int, columns: int):
    with pytest.raises(ValueError, match=f"{samples} x {columns}"):
        SampleBuffer(samples, columns, 0.5)


def test_a_large_table_says_what_it_takes_before_it_takes_it(caplog, monkeypatch):
    def refuse(*args, **kwargs):
        raise MemoryError

    caplog.set_level("INFO")
    SampleBuffer(1000, 10, 0.7)
    assert caplog.messages == []
    monkeypatch.setattr(torch, "full", refuse)
    with pytest.raises(MemoryError):
        # Clothing1M with its 14 classes is below a quarter of a GB, 2.4 million images of 1,000 classes are far above.
        SampleBuffer(2_400_000, 1000, 0.7)
    assert caplog.messages == [
        "a table of 2400000 samples x 1000 values takes 9.6 GB of memory, and of each checkpoint"
    ]


@pytest.mark.parametrize("is_distinct", [True, False])
def test_rows_move_as_a_loop_over_the_samples_says(is_distinct: bool, generator: torch.Generator):
    index = torch.randperm(12, generator=generator)[:6] if is_distinct else torch.tensor([3, 0, 3, 7, 0, 3])
    rows, before = torch.randn(6, 4, generator=generator), torch.randn(12, 4, generator=generator)
    table = SampleBuffer(12, 4, 0.7)
    table.fill(before)
    table.update(rows, index)
    expected = before.double()
    for one in set(index.tolist()):
        own = [rows[place].double() for place in range(6) if int(index[place]) == one]
        expected[one] = 0.7 * expected[one] + 0.3 * sum(own) / len(own)
    torch.testing.assert_close(table.rows.double(), expected, rtol=1e-6, atol=1e-6)


def test_no_size_depends_on_values_so_that_nothing_waits_for_an_accelerator():
    # Tensors without values: whatever has to know one fails.
    table = SampleBuffer(12, 4, 0.7).to("meta")
    table.update(torch.empty(6, 4, device="meta"), torch.empty(6, dtype=torch.int64, device="meta"))
    assert table.rows.shape == (12, 4) and table.rows.device.type == "meta"


def test_adding_sums_the_values_of_an_index_that_occurs_twice():
    table = SampleBuffer(num_samples=3, row_size=2, momentum=0.5, initial=1.0)
    table.add(torch.tensor([[1.0, 2.0], [10.0, 20.0], [0.5, 0.25]]), index=torch.tensor([2, 0, 2]))
    assert table.rows.tolist() == [[11.0, 21.0], [1.0, 1.0], [2.5, 3.25]]


def test_half_a_table_rounds_what_it_stores_and_nothing_else(generator):
    table = SampleBuffer(4, 3, 0.9, half=True)
    stored = torch.zeros(3, dtype=torch.float16)
    for _ in range(20):
        # Sums in float16 would lose what a single step adds.
        values = 100 * torch.randn(1, 3, generator=generator)
        table.update(values, torch.tensor([2]))
        stored = (0.9 * stored.double() + 0.1 * values[0].double()).float().half()
        assert (table.rows[2] - stored).abs().max() <= stored.abs().max() / 1024
    assert table.rows.element_size() * table.rows.numel() == 2 * 4 * 3
    read = table.read(Targets.unmixed(torch.tensor([0]), torch.tensor([2])))
    assert read.dtype == torch.float32 and torch.equal(read[0, 0], table.rows[2].float())


def test_half_a_table_is_stored_in_half_of_the_room():
    sizes = []
    for half in (False, True):
        file = io.BytesIO()
        torch.save(SampleBuffer(1000, 100, 0.5, half=half).state_dict(), file)
        sizes.append(len(file.getvalue()))
    assert sizes[1] < 0.52 * sizes[0]


def test_half_must_be_a_choice():
    with pytest.raises(ValueError, match="half must be true or false, got 16"):
        SampleBuffer(1, 1, 0.5, half=16)
