"""What charts and exports read: windows, rollups and samples."""
