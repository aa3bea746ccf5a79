"""What is trained: models, data and the settings that their authors published."""
