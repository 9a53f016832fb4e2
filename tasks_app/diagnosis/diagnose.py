"""The diagnosis: what the rules find in the facts, the worst and most direct first."""

from dataclasses import dataclass
from typing import Final

from tasks_app.diagnosis.facts import Facts
from tasks_app.diagnosis.findings import Finding, Rule, Severity, Subject
from tasks_app.diagnosis.rules import RULES

#: The findings that are kept; an application may have any number of workers and queues.
MOST_FINDINGS: Final = 100
_BY_SEVERITY: Final = list(Severity)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: the worst first, and of those the most direct cause first; MOST_FINDINGS at most.
        left_out: how many more there are.
        passed: the rules that found nothing.
        unknown: the rules that could not be judged, since nobody knows the facts that they need.
    """

    facts: Facts
    findings: tuple[Finding, ...]
    passed: tuple[Rule, ...]
    unknown: tuple[Rule, ...]
    left_out: int = 0

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst finding."""
        return self.findings[0].severity if self.findings else None

    def of_queue(self, queue: str) -> tuple[Finding, ...]:
        """Return the findings that explain why the tasks of a queue wait."""
        return tuple(
            finding for finding in self.findings
            if queue in finding.queues or (finding.subject is Subject.QUEUE and finding.name == queue)
        )  # fmt: skip


def diagnose(facts: Facts) -> Diagnosis:
    """Judge the facts by every rule."""
    found = [(rule, tuple(rule.find(facts))) for rule in RULES]
    findings = [finding for _, findings in found for finding in findings]
    # A stable sort keeps the order of the rules.
    findings.sort(key=lambda finding: _BY_SEVERITY.index(finding.severity))
    silent = [rule for rule, findings in found if not findings]
    return Diagnosis(
        facts, tuple(findings[:MOST_FINDINGS]), tuple(rule for rule in silent if rule.is_known(facts)),
        tuple(rule for rule in silent if not rule.is_known(facts)), max(0, len(findings) - MOST_FINDINGS),
    )  # fmt: skip
