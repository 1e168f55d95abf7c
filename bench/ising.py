"""Sweeps of Metropolis over a chequerboard in numpy, as a peer of bench/ising.ts.

One line on standard input, {"side": 64, "beta": 0.44, "chains": 16, "sweeps": 100}, is answered by one line of JSON on
standard output, {"numpy": its version, "seconds": time, "energy": mean energy a site over the chains after the last sweep}; and
so on until the input ends. All chains are changed at once: one array of [chains, side, side] spins, half of it a step, uniform
numbers in float32.

Run: echo "$REQUEST" | python bench/ising.py
"""

import json
import sys
import time

import numpy as np


def neighbours(s):
    """The sum of the four neighbours of each site on a torus."""
    return np.roll(s, 1, 1) + np.roll(s, -1, 1) + np.roll(s, 1, 2) + np.roll(s, -1, 2)


def sweep(s, colours, table, rng):
    """Each colour in turn: a spin is turned with probability min(1, exp(-2 beta s k)), k the sum of its neighbours."""
    for colour in colours:
        accepted = rng.random(s.shape, dtype=np.float32) < table[s * neighbours(s) + 4]
        np.negative(s, out=s, where=accepted & colour)


def answer(side, beta, chains, sweeps):
    rng = np.random.default_rng(0)
    s = np.ones((chains, side, side), np.int8)
    even = np.indices((side, side)).sum(0) % 2 == 0
    table = np.minimum(1, np.exp(-2 * beta * np.arange(-4, 5))).astype(np.float32)
    start = time.perf_counter()
    for _ in range(sweeps):
        sweep(s, (even, ~even), table, rng)
    seconds = time.perf_counter() - start
    energy = -(s * (np.roll(s, 1, 1) + np.roll(s, 1, 2))).mean(dtype=np.float64)
    return {"numpy": np.__version__, "seconds": seconds, "energy": energy}


for line in sys.stdin:
    print(json.dumps(answer(**json.loads(line))), flush=True)
