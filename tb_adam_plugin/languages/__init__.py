"""User-visible text, in English and in the languages of the catalogues in this folder."""
