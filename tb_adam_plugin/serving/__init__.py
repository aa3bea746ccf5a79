"""The routes of the tab: queries, answers, and the files of the tab itself."""
