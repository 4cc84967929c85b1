"""The decode loop: rows, their open proposals, schedules, laws and verification."""
