"""The routes of the tab: queries, answers, and the tab's own files."""
