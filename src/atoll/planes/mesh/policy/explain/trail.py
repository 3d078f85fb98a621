"""What an explanation is put together from on the way: steps, chances, the documents behind them.

Rule: it only collects; every decision is made where its rule is.
"""

from __future__ import annotations

from typing import Any

from atoll.planes.mesh.policy.explain.config import Config
from atoll.resources.mesh.explanations import Chance, Explanation, Outcome, Stage, Step

_ROUTE_PARTS = 4  # KIND/NAMESPACE/NAME/RULE@HASH


class Trail:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.steps: list[Step] = []
        self.chances: list[Chance] = []

    def step(self, stage: Stage, name: str, why: str, documents: tuple[str, ...] = ()) -> None:
        self.steps.append(Step(stage, name, why, documents))

    def end(self, outcome: Outcome, why: str, **fields: Any) -> Explanation:
        documents = [name for step in self.steps for name in step.documents]
        return Explanation(
            outcome,
            why,
            steps=tuple(self.steps),
            chances=tuple(self.chances),
            documents=tuple(dict.fromkeys(documents)),
            **fields,
        )


def document_of(route_name: str) -> tuple[str, ...]:
    """The document that a route's name tells of: ``KIND/NAMESPACE/NAME/RULE@HASH``."""
    parts = route_name.partition("@")[0].split("/")
    return ("/".join(parts[:3]),) if len(parts) >= _ROUTE_PARTS else ()
