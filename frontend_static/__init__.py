"""Static files of the tab. A package so that editable installs can find them."""
