"""What a run looks like on paper: records, tables and figures."""
