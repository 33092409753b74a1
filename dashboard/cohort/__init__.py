"""Sections of the Cohort page."""
