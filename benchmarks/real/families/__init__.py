"""The models and data to train, with the settings that their authors published."""
