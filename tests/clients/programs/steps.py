"""The steps of one client: each is printed as it ends, and all are counted at the end."""

import contextlib
import sys
import traceback


# A program's whole output may be the reason; so much of it is printed.
REASON_LENGTH = 600


class Skip(Exception):
    """Raised in a step that cannot be tried here; its text says why."""


class Steps:
    def __init__(self, client: str, version: str):
        self.client, self.version = client, version
        self.names: set[str] = set()
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    @contextlib.contextmanager
    def step(self, name: str):
        """Runs the block as a step; what it raises is printed, and the next step is tried."""
        try:
            yield
        except Skip as skip:
            self._end("skipped", name, str(skip))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = str(error) or f"not so: {where.line}"
            self._end("failed", name, f"{type(error).__name__}: {reason} (line {where.lineno})")
        else:
            self._end("passed", name)

    def _end(self, outcome: str, name: str, reason: str = ""):
        if name in self.names:
            outcome, reason = "failed", "a second step of this name"
        self.names.add(name)
        self.counts[outcome] += 1
        reason = " ".join(reason.split())[:REASON_LENGTH]
        print(f"{outcome} {name}: {reason}" if reason else f"{outcome} {name}", flush=True)

    def finish(self):
        """Prints the counts as the last line, and ends the program: 1 where a step has failed."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        print(f"{self.client} {self.version}: {counts}", flush=True)
        sys.exit(1 if self.counts["failed"] else 0)
