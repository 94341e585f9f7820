"""The channel of alerts by a Telegram bot, which people also answer and write to."""
