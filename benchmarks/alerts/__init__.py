"""Precision and recall of the alert rules on simulated months with planted incidents."""
