# SPDX-License-Identifier: GPL-2.0
"""Counts the instructions that I/O costs; see __main__.py."""
