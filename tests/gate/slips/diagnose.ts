/**
 * Slips in the diagnostics of chains, and in what watches them.
 *
 * @module
 */

import { type Slip, slip } from "./slip.ts";

const golden = "metric/chain/golden", forms = "metric/chain/draws", size = "metric/chain/ess";

/** All of them. */
export const diagnose: readonly Slip[] = [
  slip("metric/quantile.ts", "root - 1.6", "root - 1.5", "metric/quantile"),
  slip("metric/quantile.ts", "root <= 5 ?", "root <= 50 ?", "metric/quantile"),
  slip("metric/quantile.ts", "0.180625 - q * q", "0.18 - q * q", "metric/quantile"),
  slip("metric/quantile.ts", "w * (1 / 360 -", "w * (1 / 36 -", "metric/quantile"),
  slip("metric/quantile.ts", "(a + b) / (a + 1) * x", "(a + b) / a * x", "metric/quantile"),
  slip("metric/quantile.ts", "z < 10; z++", "z < 1; z++", "metric/quantile"),
  slip("metric/chain/rhat.ts", "/ (n + 1 / 4)", "/ (n - 1 / 4)", golden),
  slip("metric/chain/rhat.ts", "(first + 1 + end) / 2", "first + 1", golden),
  slip("metric/chain/rhat.ts", "Math.max(spread(bulk), spread(tail))", "spread(bulk)", golden),
  slip(
    "metric/chain/rhat.ts",
    "between / mean(chains.map(variance)) + n - 1",
    "between / mean(chains.map(variance)) + n",
    golden,
  ),
  slip("metric/chain/rhat.ts", "Math.abs(x - median)", "x - median", golden),
  slip(
    "metric/chain/rhat.ts",
    "n * variance(chains.map(mean))",
    "variance(chains.map(mean))",
    size,
  ),
  slip("metric/chain/ess.ts", "lag < n - 5", "lag < n - 4", golden),
  slip("metric/chain/ess.ts", "least = Math.min(least, even + odd)", "least = even + odd", golden),
  slip("metric/chain/ess.ts", "even + odd >= 0 ? even : Math.max(even, 0)", "0", golden),
  slip("metric/chain/ess.ts", "c(0) * n / (n - 1)", "c(0)", golden),
  slip("metric/chain/ess.ts", "c(0) + variance(chains.map(mean))", "c(0)", size),
  slip("metric/chain/ess.ts", "1 / Math.log10(n * chains.length)", "1e-9", size),
  slip("metric/chain/ess.ts", "const fewest = 6", "const fewest = 3", forms),
  slip("metric/chain/ess.ts", "(all.length - 0.5) / all.length", "1", golden),
  slip("metric/chain/ess.ts", "x <= limit ? 1", "x < limit ? 1", golden),
  slip(
    "metric/chain/ess.ts",
    "quantileSize(chains, all, 0.95)",
    "quantileSize(chains, all, 0.5)",
    golden,
  ),
  slip("metric/chain/ess.ts", "(x - centre) ** 2", "x ** 2", golden),
  slip(
    "metric/chain/ess.ts",
    "sizeOf(normalised(halves(chains))))",
    "sizeOf(halves(chains)))",
    golden,
  ),
  slip(
    "metric/chain/error.ts",
    "Math.sqrt(variance(all) / meanSize(chains))",
    "Math.sqrt(variance(all) / all.length)",
    size,
  ),
  slip("metric/chain/error.ts", "fourth - second ** 2", "fourth", golden),
  slip("metric/chain/error.ts", "size * p + 1", "size * p", golden),
  slip(
    "metric/chain/error.ts",
    "Math.floor(share(below) * n)",
    "Math.ceil(share(below) * n)",
    golden,
  ),
  slip("metric/chain/draws.ts", "low === high ? low : ", "", forms),
  slip(
    "metric/chain/draws.ts",
    "chain.subarray(chain.length - half)",
    "chain.subarray(half)",
    golden,
  ),
  slip("metric/chain/draws.ts", "notFinite(chain) === undefined && ", "", forms),
  slip("metric/chain/draws.ts", " && !isConstant([chain]));", ");", forms),
  slip("metric/chain/draws.ts", "8 * Number.EPSILON", "0", forms),
  slip("metric/chain/draws.ts", "m * across! + s * along!", "m * length! + s", forms),
  slip("metric/chain/draws.ts", "values.length - 1)", "values.length)", golden),
  slip(
    "metric/chain/autocovariance.ts",
    "2 ** Math.ceil(Math.log2(2 * length))",
    "2 ** Math.ceil(Math.log2(length))",
    "metric/chain/autocovariance",
  ),
  slip(
    "metric/chain/autocovariance.ts",
    "im.set(chains[c + 1] ?? [])",
    "im.set(chains[c]!)",
    "metric/chain/autocovariance",
  ),
  slip(
    "metric/chain/autocovariance.ts",
    "return products(centred, lag) / draws",
    "return products(centred, lag) / (draws - lag)",
    "metric/chain/autocovariance",
  ),
  slip("metric/chain/autocovariance.ts", "all[lag]! / draws", "all[lag]!", golden),
  slip("metric/chain/moves.ts", "if (s > 0) moved", "moved", "metric/chain/moves"),
  slip("metric/chain/moves.ts", "chain.length < 4 || ", "", "metric/chain/moves"),
  slip(
    "metric/chain/moves.ts",
    "!(value >= 0 && value <= 1)",
    "value < 0 || value > 1",
    "metric/chain/moves",
  ),
  slip("metric/chain/summary.ts", "chains[0]!.length % 2 === 0 ? all : undefined", "all", golden),
  slip("metric/chain/summary.ts", "canTell(chains) ? diagnostics", "isFinite ? diagnostics", forms),
  slip("watch/ask.ts", "if (count > told) speak()", "speak()", "watch/diagnose"),
  slip(
    "watch/ask.ts",
    "told = count;\n      tell(read(count));",
    "tell(read(count));\n      told = count;",
    "watch/diagnose",
  ),
  slip("watch/ask.ts", "if (numbers === undefined) return;", "", "watch/diagnose"),
  slip("watch/ask.ts", "if (shape === first) return lists;", "return lists;", "watch/diagnose"),
  slip("watch/diagnose.ts", "s % 2 === 0", "s % 2 === 1", "watch/diagnose"),
  slip("watch/diagnose.ts", "stride *= 2", "stride += 1", "watch/diagnose"),
  slip("watch/diagnose.ts", "Math.ceil(length / 2)", "Math.floor(length / 2)", "watch/diagnose"),
  slip("watch/average.ts", "y = x - first", "y = x", "watch/average"),
  slip("watch/average.ts", "head[k - 1]! + tail[k - 1]!", "2 * head[k - 1]!", "watch/average"),
  slip("watch/average.ts", "if (k >= n) return NaN;", "", "watch/average"),
  slip("watch/average.ts", "(n - k) * m * m", "n * m * m", "watch/average"),
];
