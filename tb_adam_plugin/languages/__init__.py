"""What is said to users, in English and in the languages of the catalogues beside this file."""
