"""What delivers: one file or folder for each exporter."""
