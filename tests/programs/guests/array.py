"""200 MB of numbers of which a part changes with every step, and their sum."""

import numpy

from common import MODULUS, finished, progress

NUMBERS = 25_000_000
PART = 50_000


def main() -> None:
    array = numpy.arange(NUMBERS, dtype=numpy.int64)
    total = NUMBERS * (NUMBERS - 1) // 2
    n = value = 0
    while not finished():
        n += 1
        begin = n * 7919 * PART % (NUMBERS - PART)
        array[begin:begin + PART] += n
        total += n * PART
        value = (value * 31 + n) % MODULUS
        if n % 16 == 0:
            assert int(array.sum()) == total, n
        progress(n, value)
    assert int(array.sum()) == total


main()
