import torch

from chorus_kernels.scatter.reference import scatter as reference

PIECES = [(0, 9000, 5000), (5000, 3, 1), (7000, 100, 4096), (8000, 20, 0)]


def test_pieces_land_and_nothing_else_changes(kernel_device: torch.device) -> None:
    from chorus_kernels.scatter.triton import scatter

    source, before = torch.randn(12000), torch.randn(15000)
    pieces = torch.tensor(PIECES)
    target = before.to(kernel_device)

    scatter(source.to(kernel_device), target, pieces.to(kernel_device), 5000)

    wanted = before.clone()
    reference(source, wanted, pieces)
    assert torch.equal(target.cpu(), wanted)
    assert torch.equal(wanted[9000:14000], source[:5000])
    assert torch.equal(wanted[5000:9000], before[5000:9000])
