//! The `push_manager` section of the settings file.
