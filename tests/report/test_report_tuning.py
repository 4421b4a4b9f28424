"""Searches in a report: numbers that a reader looks up in the history must be those of the history."""

from __future__ import annotations

from bench.report.plots import svg
from bench.report.studies import StudyFacts, TrialFacts
from bench.report.tuning import draw_history, groups, table


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
    assert [table(group).texts()[0][name] for name in ("best", "trial")] == ["70.0", "2"]
    assert "recon, trial 2: 70.0" in svg(lambda: draw_history(group), "h")[0]
