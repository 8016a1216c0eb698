"""Files that only grow, on a disk that may be full."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chorus_gateway.errors import StartError
from chorus_gateway.ledger import records
from chorus_gateway.ledger.dead import find_dead
from chorus_gateway.ledger.journal import Journal
from tests.gateway.support.ledger import admission


def lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.log")) for line in records.lines(path.read_bytes())]


def line(number: int) -> bytes:
    return records.admitted(admission(f"req_{number}"))


def test_lines_are_in_the_file_when_append_returns(folder: Path) -> None:
    journal = Journal(folder, "one")
    journal.append(line(1))
    assert len(lines(folder)) == 1
    journal.close()


def test_a_file_goes_when_all_of_it_and_of_older_ones_is_released(folder: Path) -> None:
    journal = Journal(folder, "one", file_bytes=1)
    held = []
    for number in range(4):
        journal.append(line(number))
        held.append(journal.hold())
    assert held == [1, 2, 3, 4]
    journal.release(held[1])
    journal.release(held[2])
    assert journal.files == 4  # the first is held, and the later ones may tell of what it admitted
    journal.release(held[0])
    assert journal.files == 1
    assert len(lines(folder)) == 1
    journal.release(held[3])
    journal.close()
    assert list(folder.iterdir()) == []


def test_what_is_told_after_the_end_goes_nowhere(folder: Path) -> None:
    journal = Journal(folder, "one")
    journal.append(line(1))
    journal.hold()
    journal.close()
    others = [os.open(folder / f"other{number}", os.O_RDWR | os.O_CREAT) for number in range(4)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        journal.append(line(2))
    assert not any((folder / f"other{number}").read_bytes() for number in range(4))
    for other in others:
        os.close(other)


def test_what_is_held_stays_and_can_be_adopted(folder: Path) -> None:
    journal = Journal(folder, "one")
    journal.append(line(1))
    journal.hold()
    assert find_dead(folder) == []  # it lives
    journal.close()
    (dead,) = find_dead(folder)
    assert dead.worker_id == "one"
    assert find_dead(folder) == []  # one heir at a time
    dead.close()
    (again,) = find_dead(folder)
    again.remove()
    again.close()
    assert list(folder.iterdir()) == []


def test_an_idle_worker_keeps_no_old_lines(folder: Path) -> None:
    now = 0.0
    journal = Journal(folder, "one", clock=lambda: now)
    journal.append(line(1))
    serial = journal.hold()
    now = 100.0
    journal.tidy()
    assert len(lines(folder)) == 1
    journal.release(serial)
    journal.tidy()
    assert lines(folder) == []
    journal.append(line(2))
    journal.tidy()
    assert len(lines(folder)) == 1  # a moment ago
    journal.close()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """The disk has room for so many bytes from now on; None is enough."""
    write, room = os.write, [1 << 30]

    def limited(handle: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(handle, data[: room[0]])
        room[0] -= done
        return done

    def set_room(size: int | None) -> None:
        room[0] = 1 << 30 if size is None else size

    monkeypatch.setattr(os, "write", limited)
    return set_room


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_is_told_and_tears_no_later_line(
    folder: Path, full: Callable[[int | None], None], room: int
) -> None:
    journal = Journal(folder, "one")
    journal.append(line(1))
    full(room)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            journal.append(line(2))
    full(None)
    journal.append(line(3))
    assert lines(folder) == [line(1)[8:-1], line(3)[8:-1]]
    journal.close()


def test_without_room_for_a_new_file_the_old_one_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(folder, "one", file_bytes=1)
    journal.append(line(1))

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        journal.append(line(2))
        assert journal.hold() == 1
    journal.append(line(3))
    assert journal.hold() == 2
    assert len(lines(folder)) == 3
    journal.sync()
    journal.close()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="CHORUS_JOURNAL_DIR"):
        Journal(tmp_path / "file" / "journal", "one")
