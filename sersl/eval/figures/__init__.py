"""The figures of reports: PNG files by matplotlib."""
