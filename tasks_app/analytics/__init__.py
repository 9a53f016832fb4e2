"""Figures for charts and exports: windows, rollups and samples."""
