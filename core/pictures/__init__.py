"""Sheets, portraits and plots."""
