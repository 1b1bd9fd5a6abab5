"""How many neighbours a client shares its secrets with, and how many of them recover one.

A round fixes a graph and a Shamir threshold from (clients n, corrupt and drop-out fractions):

    complete              every pair, n up to a few hundred; no probability in it
    neighbours            sparse ring of [Bell20, §3]: the server is semi-honest or semi-malicious
    neighbours_malicious  sparse ring with a rule on windows: the server chooses who drops out
    quorum                how many clients must consent to one survivor set

The sparse graphs are Harary rings: clients stand on a ring in random order and each is joined to
the degree/2 clients on either side. A failure is a union bound over the n *positions* of the ring.
The clients around a position are a uniform sample, whoever stands there, so the number of them
that are corrupt (or dropped) is Hypergeometric(n, corrupt, degree): no conditioning on the client.

Side of the errors. Probabilities carry a relative error below 1e-7 (measured against integers in
the tests) and every comparison demands 1e-6 of room: an accepted parameter satisfies its
inequality exactly, and one within 1e-6 of the bound is refused, at the cost of one step.

[Bell20]  Bell, Bonawitz, Gascón, Lepoint, Raykova: Secure Single-Server Aggregation with
          (Poly)Logarithmic Overhead, CCS 2020, eprint 2020/704.
[FCP]     google-parfait/federated-compute at de83f70, fcp/secagg/server/graph_parameter_finder.cc:
          `neighbours` gives its degrees; the tests hold its published rows.
"""

from __future__ import annotations

import enum
import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from secagg.errors import ParameterError

__all__ = [
    "Adversary",
    "Neighbourhood",
    "complete",
    "corrupt_bound",
    "dropout_bound",
    "neighbours",
    "neighbours_malicious",
    "quorum",
]

MOST_CLIENTS = 10**6
MOST_BITS = 256

_FRACTION_SLACK = 1e-14
"""Keeps 0.29 * 100 = 28.99… from losing a client, and 0.34 + 0.56 = 0.90…01 from passing 0.9."""

_LOG_SLACK = 1e-6
"""Room demanded below every bound, ten times the error of `_log_tail`."""

_MOST_TROUBLE = 0.9
"""Largest corrupt + dropout [FCP]; nearer to 1 the ring is all but complete, so use `complete`."""

_ADVICE = "use the complete graph, or lower fractions"


class Adversary(enum.Enum):
    """What the server of `neighbours` may do, always together with the corrupt clients."""

    SEMI_HONEST = enum.auto()
    """Follows the protocol and reads everything."""

    SEMI_MALICIOUS = enum.auto()
    """Honest while the graph is drawn and keys are exchanged, malicious afterwards.

    Without a consent round it may tell half of the neighbours of a client that the client survived
    and the other half that it dropped, and so ask for both secrets: 2t > degree + corrupt
    neighbours must hold [Bell20, §3].
    """


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """A graph and a threshold; construction refuses what no round can run with.

    Attributes
    ----------
    clients: n, the clients on the graph.
    degree: neighbours of each client; even (a Harary ring) or n - 1 (the complete graph).
    threshold: t, the shares that recover a secret, 1 <= t <= degree. A client keeps no share of
        its own secret, so the shares are `degree` many. t = 1 only where no client is corrupt.
    window: w = degree/2 where clients must check windows (`neighbours_malicious`), else 0.
    window_corrupt: c. With w > 0 a client refuses a survivor set unless every w consecutive
        positions of the ring hold more than c members of it.
    """

    clients: int
    degree: int
    threshold: int
    window: int = 0
    window_corrupt: int = 0

    def __post_init__(self) -> None:
        n, k, t = self.clients, self.degree, self.threshold
        w, c = self.window, self.window_corrupt
        if not 1 <= t <= k <= n - 1:
            raise ParameterError(f"1 <= t <= degree <= n - 1 must hold, got {t}, {k}, {n - 1}")
        if k % 2 and k != n - 1:
            raise ParameterError(f"degree must be even or n - 1 = {n - 1}, got {k}")
        if (w or c) and not (2 * w == k and 2 * c < t <= 2 * (c + 1)):
            raise ParameterError(
                f"2w = degree and 2c < t <= 2(c + 1) must hold, got {w=}, degree={k}, {c=}, {t=}"
            )


def corrupt_bound(clients: int, corrupt: float) -> int:
    """The most clients that are corrupt: floor((corrupt + 1e-14) * clients).

    "At most a fraction" of n is a whole number, hence the floor; 1e-14 makes up for the rounding
    of the product. It errs upwards, by one client at most: more corruption, less drop-out allowed.

    Raises `ParameterError` unless 1 <= clients <= 10**6 and 0 <= corrupt < 1.
    """
    return _share(clients, "corrupt", corrupt)


def dropout_bound(clients: int, dropout: float) -> int:
    """The most clients that drop out: floor((dropout + 1e-14) * clients), see `corrupt_bound`."""
    return _share(clients, "dropout", dropout)


def neighbours(
    clients: int,
    *,
    corrupt: float,
    dropout: float,
    adversary: Adversary = Adversary.SEMI_HONEST,
    security_bits: int = 40,
    correctness_bits: int = 20,
) -> Neighbourhood:
    """The smallest ring for clients that drop out independently of it [Bell20, §3; FCP].

    Returns the smallest even degree k < n - 1 that has a threshold t, and the smallest such t.
    With C, D the corrupt and the dropped among the k neighbours of a position:

        n * P[C >= t] < 2^-(security_bits + 1)                the corrupt recover no secret;
                                    SEMI_MALICIOUS: n * P[2t <= k + C] in place of it
        P[two arcs of k/2 are gone] < 2^-(security_bits + 1)  honest survivors stay connected
        n * P[k - D < t] < 2^-correctness_bits                those alive recover every secret

    t = 2 replaces 1 (no corrupt client) where the last line stays true. [FCP] replaces it always;
    for (n=10, corrupt 0, dropout 0.33, k=4) that makes its left side 1/3, so here t = 1.

    A server that picks the drop-outs after it has seen the ring cuts it at will: for that take
    `neighbours_malicious`. Raises `ParameterError` where no k will do and where
    corrupt + dropout > 0.9 (SEMI_MALICIOUS: corrupt + 2 dropout).
    """
    n_corrupt, n_dropped = corrupt_bound(clients, corrupt), dropout_bound(clients, dropout)
    _check_bits(security_bits=security_bits, correctness_bits=correctness_bits)
    _check_trouble(corrupt, dropout, adversary)
    found = _sparse(clients, n_corrupt, n_dropped, adversary, security_bits, correctness_bits)
    if found is None:
        raise ParameterError(
            f"no even degree k < n - 1 = {clients - 1} satisfies n*P[corrupt neighbours reach "
            f"the threshold t] < 2^-{security_bits + 1}, P[disconnected] < 2^-{security_bits + 1} "
            f"and n*P[alive neighbours < t] < 2^-{correctness_bits} with {n_corrupt} corrupt and "
            f"{n_dropped} dropped clients ({adversary.name}); {_ADVICE}"
        )
    return found


def neighbours_malicious(
    clients: int,
    *,
    corrupt: float,
    dropout: float,
    security_bits: int = 40,
    correctness_bits: int = 20,
    grinding_bits: int = 64,
) -> Neighbourhood:
    """The smallest ring whose honest survivors stay connected *whoever* the server drops.

    [Bell20] needs drop-outs that do not look at the graph: dropping w = degree/2 consecutive
    clients at both ends of an arc isolates it. Here every client refuses a survivor set A unless
    each window of w consecutive positions holds more than c members of A. Let every window hold at
    most c corrupt clients. Then the w positions after an honest survivor hold another one, which
    is a neighbour: a cycle joins all honest survivors. The neighbours are two windows, so at most
    2c are corrupt and t = 2c + 1 keeps them from a secret; and an accepted A leaves every client
    2(c + 1) >= t of them. Consent (`quorum`) makes A unique, so no 2t > degree is needed.

        n * P[Hypergeometric(n, corrupt, w) > c] < 2^-(security_bits + grinding_bits)
        n * P[Hypergeometric(n, dropped, w) >= w - c] < 2^-correctness_bits

    Privacy rests on the first line alone. The order of the ring is a hash of all fresh adverts,
    and who sends the last of them may try 2^grinding_bits orders. The second line says that
    clients which drop out at random do not trip the rule.

    Returns degree 2w < n - 1, threshold max(2c + 1, 2), window w and window_corrupt c for the
    smallest w, and for it the smallest c. Raises `ParameterError` where no w will do.
    """
    n_corrupt, n_dropped = corrupt_bound(clients, corrupt), dropout_bound(clients, dropout)
    _check_bits(security_bits=security_bits, correctness_bits=correctness_bits)
    _check_integer("grinding_bits", grinding_bits, 0, MOST_BITS)
    secrecy_bits = security_bits + grinding_bits
    found = _windowed(clients, n_corrupt, n_dropped, secrecy_bits, correctness_bits)
    if found is None:
        raise ParameterError(
            f"no window 2w < n - 1 = {clients - 1} satisfies n*P[corrupt in a window > c] < "
            f"2^-{secrecy_bits} and n*P[survivors in a window <= c] < 2^-{correctness_bits} with "
            f"{n_corrupt} corrupt and {n_dropped} dropped clients; {_ADVICE}"
        )
    return found


def complete(clients: int, *, corrupt: float, dropout: float) -> Neighbourhood:
    """The complete graph: degree n - 1 and the largest threshold, t = n - 1 - dropped.

    corrupt < t <= (n - 1) - dropped: the corrupt do not recover a secret, and the n - 1 others
    still do when all that may drop out have (a client keeps no share of its own secret). Of the
    thresholds in between, the largest gives all slack to privacy.

    Raises `ParameterError` where none is left or n < 2.
    """
    n_corrupt, n_dropped = corrupt_bound(clients, corrupt), dropout_bound(clients, dropout)
    if clients < 2:
        raise ParameterError(f"n >= 2 must hold for a neighbour to exist, got {clients}")
    threshold = clients - 1 - n_dropped
    if threshold <= n_corrupt:
        raise ParameterError(
            f"corrupt < t <= n - 1 - dropped leaves no t: {n_corrupt} < t <= "
            f"{clients} - 1 - {n_dropped} = {threshold}"
        )
    return Neighbourhood(clients=clients, degree=clients - 1, threshold=threshold)


def quorum(clients: int, *, corrupt: float, dropout: float) -> int:
    """How many clients must consent: q = floor((n + corrupt)/2) + 1.

    Two sets of q clients share 2q - n > corrupt of them, so an honest one, and that one signs a
    single survivor set: at most one set finds a quorum. q is the smallest such number.

    Raises `ParameterError` where q > n - dropped: the survivors could not reach it.
    """
    n_corrupt, n_dropped = corrupt_bound(clients, corrupt), dropout_bound(clients, dropout)
    needed = (clients + n_corrupt) // 2 + 1
    if needed > clients - n_dropped:
        raise ParameterError(
            f"floor((n + corrupt)/2) + 1 <= n - dropped must hold, got "
            f"floor(({clients} + {n_corrupt})/2) + 1 = {needed} > "
            f"{clients} - {n_dropped} = {clients - n_dropped}"
        )
    return needed


def _check_integer(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ParameterError(f"{least} <= {name} <= {most} must hold for an integer, got {value!r}")


def _check_bits(**bits: int) -> None:
    for name, value in bits.items():
        _check_integer(name, value, 1, MOST_BITS)


def _check_trouble(corrupt: float, dropout: float, adversary: Adversary) -> None:
    if not isinstance(adversary, Adversary):
        raise ParameterError(f"adversary must be a member of Adversary, got {adversary!r}")
    weight, shown = (1, "") if adversary is Adversary.SEMI_HONEST else (2, "2*")
    if corrupt + weight * dropout > _MOST_TROUBLE + _FRACTION_SLACK:
        raise ParameterError(
            f"corrupt + {shown}dropout <= {_MOST_TROUBLE} must hold ({adversary.name}), got "
            f"{corrupt} + {shown}{dropout}; {_ADVICE}"
        )


def _share(clients: int, name: str, fraction: float) -> int:
    _check_integer("clients", clients, 1, MOST_CLIENTS)
    number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not number or not 0 <= fraction < 1:  # a NaN fails both comparisons
        raise ParameterError(f"0 <= {name} < 1 must hold, got {fraction!r}")
    return math.floor((fraction + _FRACTION_SLACK) * clients)


@lru_cache(maxsize=1024)
def _sparse(
    n: int, corrupt: int, dropped: int, adversary: Adversary, security: int, correctness: int
) -> Neighbourhood | None:
    """`neighbours` in whole clients; None where no degree will do."""

    def threshold(degree: int) -> int:
        seen = _worst(n, corrupt, degree, security + 1)  # + 1: half of 2^-security per event
        return 1 + (seen if adversary is Adversary.SEMI_HONEST else (degree + seen) // 2)

    def alive(degree: int) -> int:
        return degree - _worst(n, dropped, degree, correctness)

    degrees = _connected_degrees(n, corrupt + dropped, security + 1)
    degree = _first(degrees, threshold, alive)
    if degree is None:
        return None
    # A threshold of 1 hands the secret itself to every neighbour: avoided where 2 are alive.
    least = max(threshold(degree), min(2, alive(degree)))
    return Neighbourhood(clients=n, degree=degree, threshold=least)


@lru_cache(maxsize=1024)
def _windowed(
    n: int, corrupt: int, dropped: int, secrecy: int, correctness: int
) -> Neighbourhood | None:
    """`neighbours_malicious` in whole clients; None where no window will do."""

    def needed(window: int) -> int:
        return _worst(n, corrupt, window, secrecy) + 1

    def alive(window: int) -> int:
        return window - _worst(n, dropped, window, correctness)

    window = _first(range(1, n // 2), needed, alive)
    if window is None:
        return None
    c = needed(window) - 1
    return Neighbourhood(
        clients=n, degree=2 * window, threshold=max(2 * c + 1, 2), window=window, window_corrupt=c
    )


def _first(sizes: range, needed: Callable[[int], int], alive: Callable[[int], int]) -> int | None:
    """The first of `sizes` with needed <= alive; same answer as trying each, in far fewer tries.

    Whether a size will do is not monotone (counts are whole), so bisecting for it could miss the
    first. But neither `needed` nor `alive` ever falls: a larger sample holds the smaller one. So
    nothing will do before `alive` reaches what is needed here, and for that one may bisect; over
    twice the last stride only: large samples are dear and strides change slowly.
    """
    at, reach = 0, 1
    while at < len(sizes):
        need = needed(sizes[at])
        if alive(sizes[at]) >= need:
            return sizes[at]
        end = min(at + reach, len(sizes))
        after = bisect_left(sizes, need, lo=at + 1, hi=end, key=alive)
        at, reach = after, 2 * (after - at)
    return None


def _connected_degrees(n: int, gone: int, bits: int) -> range:
    """The even degrees k < n - 1 at which honest survivors are disconnected with P < 2^-bits.

    Cutting a ring takes two arcs of k/2 gone clients: n(n - k - 1)/2 pairs, each all gone with
    probability C(gone, k)/C(n, k) [FCP]. Both factors fall in k, so bisection finds the first.
    """
    degrees = range(2, n - 1, 2)

    def connected(k: int) -> bool:
        log_pairs = math.log(n * (n - k - 1) / 2)
        return log_pairs + _log_tail(n, gone, k, k) + _LOG_SLACK < -bits * math.log(2)

    return degrees[bisect_left(degrees, True, key=connected) :]


def _worst(n: int, marked: int, sample: int, bits: int) -> int:
    """The smallest x with n * P[Hypergeometric(n, marked, sample) > x] < 2^-bits."""
    log_bound = -bits * math.log(2) - math.log(n)

    def rare(x: int) -> bool:
        return _log_tail(n, marked, sample, x + 1) + _LOG_SLACK < log_bound

    return bisect_left(range(sample + 1), True, key=rare)


def _log_tail(n: int, marked: int, sample: int, least: int) -> float:
    """Ln P[X >= least], X the marked among `sample` of n drawn without replacement.

    The tail is its largest term times a sum of positive terms of at most 1: nothing cancels,
    nothing underflows. The error is that of `_log_term`. Returns -inf for an impossible event.
    """
    lowest, highest = max(0, marked + sample - n), min(marked, sample)
    if least <= lowest:
        return 0.0
    if least > highest:
        return -math.inf
    mode = (marked + 1) * (sample + 1) // (n + 2)
    peak = max(least, mode)
    # 6 sqrt(sample) from the peak a term is below e^-60 of it (Hoeffding; log-concave): left out.
    reach = 6 * math.isqrt(sample) + 16
    up = np.arange(peak, min(highest, peak + reach), dtype=np.float64)
    down = np.arange(peak, max(least, peak - reach), -1, dtype=np.float64)
    rest = n - marked - sample
    terms_up = np.cumprod((marked - up) * (sample - up) / ((up + 1) * (rest + up + 1)))
    terms_down = np.cumprod(down * (rest + down) / ((marked - down + 1) * (sample - down + 1)))
    # The terms fall, so each sum begins at its small end.
    total = 1.0 + float(terms_up[::-1].sum()) + float(terms_down[::-1].sum())
    return min(0.0, _log_term(n, marked, sample, peak) + math.log(total))


def _log_term(n: int, marked: int, sample: int, x: int) -> float:
    """Ln P[X = x]. Nine log-gammas of up to 1.3e7 at n = 10**6: absolute error below 1e-7."""

    def log_comb(a: int, b: int) -> float:
        return math.lgamma(a + 1) - math.lgamma(b + 1) - math.lgamma(a - b + 1)

    return log_comb(marked, x) + log_comb(n - marked, sample - x) - log_comb(n, sample)
