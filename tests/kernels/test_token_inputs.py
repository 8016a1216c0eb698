import pytest
import torch

from chorus_kernels.token_inputs.reference import token_inputs as reference


@pytest.mark.parametrize("tokens", [1, 7, 128, 300])
def test_looks_up_ids_and_slots(kernel_device: torch.device, tokens: int) -> None:
    from chorus_kernels.token_inputs.triton import token_inputs

    ids = torch.randint(0, 1000, (9, 65), dtype=torch.int32)
    blocks = torch.randint(0, 500, (9, 4), dtype=torch.int32)
    rows = torch.randint(0, 9, (tokens,), dtype=torch.int32)
    positions = torch.randint(-1, 64, (tokens,), dtype=torch.int32)
    wanted_all = reference(rows, positions, ids, blocks, 16)

    moved = [tensor.to(kernel_device) for tensor in (rows, positions, ids, blocks)]
    actual = token_inputs(moved[0], moved[1], moved[2], moved[3], 16)

    for given, wanted in zip(actual, wanted_all, strict=True):
        assert torch.equal(given.cpu(), wanted)


def test_padding_reads_nothing_and_is_stored_nowhere() -> None:
    ids = torch.full((2, 8), 7, dtype=torch.int32)
    blocks = torch.full((2, 2), 3, dtype=torch.int32)
    rows, positions = torch.tensor([1, 0], dtype=torch.int32), torch.tensor([-1, 5], dtype=torch.int32)
    token, position, slot = reference(rows, positions, ids, blocks, 4)
    assert token.tolist() == [0, 7]
    assert position.tolist() == [0, 5]
    assert slot.tolist() == [-1, 13]
