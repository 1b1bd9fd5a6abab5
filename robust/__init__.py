"""Detection of cheaters on agreed statistics. No public name yet; see CHANGELOG.md."""
