"""Figures: pure functions from typed data to `plotly.graph_objects.Figure`; no Streamlit in here."""
