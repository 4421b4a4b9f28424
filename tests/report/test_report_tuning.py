"""Searches in a report: numbers that a reader looks up in the history must be those of the history."""

from __future__ import annotations

from bench.report.studies import StudyFacts, TrialFacts
from bench.report.tuning import groups, history_plot, rows


def test_the_best_trial_has_the_number_of_the_plot_where_a_trial_was_lost() -> None:
    """The table said trial 3 where the plot and `bench tune` say 2: a reader would look up other values."""
    trials = tuple(
        TrialFacts(number, value, (("linear.strengths", "[1.0]"),)) for number, value in ((0, 0.5), (2, 0.7))
    )
    study = StudyFacts(
        name="recon | x",
        method="recon",
        protocol="linear",
        dataset="shapes-scan",
        preset="nano",
        settings=("all",),
        what="downstream",
        seed=0,
        metric="accuracy",
        space="d",
        dimensions=(),
        trials=trials,
        best=2,
    )
    (group,) = groups([study])
    assert rows(group)[0][3:5] == ("70.0", "2")
    assert "recon, trial 2: 70.0" in history_plot(group, "h").svg
