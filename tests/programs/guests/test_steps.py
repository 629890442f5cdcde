"""A run of pytest that takes long: many tests with a fixture, many steps each."""

import time
from collections.abc import Iterator

import pytest
from common import MODULUS, finished, progress


class State:
    def __init__(self) -> None:
        self.n = self.value = self.blocks = 0


@pytest.fixture(scope="session")
def state() -> Iterator[State]:
    state = State()
    yield state
    progress(state.n, state.value)
    with open("blocks", "w") as file:
        file.write(f"{state.blocks}\n")


@pytest.mark.parametrize("block", range(2000))
def test_block(state: State, block: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert block == state.blocks
    state.blocks += 1
    print(block)
    for _ in range(100):
        if finished():
            break
        state.n += 1
        state.value = (state.value * 31 + state.n) % MODULUS
        time.sleep(0.005)
        progress(state.n, state.value)
    assert capsys.readouterr().out == f"{block}\n"
