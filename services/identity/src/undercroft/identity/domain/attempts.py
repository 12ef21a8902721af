"""How long guessing must wait: some attempts are free, then waits double, and after a while all is forgotten."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttemptLimit:
    """Attempts on one thing. Nobody is locked out for ever: counting begins anew when the window ends."""

    name: str
    free: int
    window_seconds: float
    longest_wait_seconds: float

    def wait_seconds(self, attempts: int) -> int:
        """Return how long the next attempt waits after this many."""
        if attempts < self.free:
            return 0
        doubled = 2.0 ** min(attempts - self.free, 32)
        return int(min(doubled, self.longest_wait_seconds, self.window_seconds)) or 1
