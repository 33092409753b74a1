"""Sections of the Model page."""
